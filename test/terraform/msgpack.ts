/**
 * How does Terraform write a value down? MessagePack, with an extension for what is not known before it is made. Only
 * what Terraform sends: no dates, no other extensions.
 * @see https://github.com/msgpack/msgpack/blob/master/spec.md
 */

/** A value that the cloud will choose. */
export const unknown = Symbol('unknown');

export type Value = null | boolean | number | string | typeof unknown | Value[] | { [key: string]: Value };

/** Reads one value. Throws on bytes that Terraform does not send. */
export function decode(bytes: Buffer): Value {
  let at = 0;

  function take(length: number): Buffer {
    if (at + length > bytes.length) throw new Error(`Expected ${length} more bytes at ${at} of ${bytes.length}`);
    at += length;
    return bytes.subarray(at - length, at);
  }
  const uint = (length: number) => take(length).readUIntBE(0, length);
  const text = (length: number) => take(length).toString('utf8');
  const list = (length: number) => Array.from({ length }, value);
  const map = (length: number) => Object.fromEntries(Array.from({ length }, (): [string, Value] => [key(), value()]));
  function extension(length: number): Value {
    take(1 + length); // The rest says what is known about the unknown.
    return unknown;
  }

  function key(): string {
    const name = value();
    if (typeof name !== 'string') throw new Error(`Expected a text as a key of a map at ${at}`);
    return name;
  }

  function value(): Value {
    const tag = uint(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return map(tag & 0x0f);
    if (tag < 0xa0) return list(tag & 0x0f);
    if (tag < 0xc0) return text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    const read = readers[tag];
    if (read === undefined) throw new Error(`Expected a value of MessagePack at ${at - 1}, got 0x${tag.toString(16)}`);
    return read();
  }

  const readers: Record<number, () => Value> = {
    0xc0: () => null,
    0xc2: () => false,
    0xc3: () => true,
    0xc7: () => extension(uint(1)),
    0xca: () => take(4).readFloatBE(),
    0xcb: () => take(8).readDoubleBE(),
    0xcc: () => uint(1),
    0xcd: () => uint(2),
    0xce: () => uint(4),
    0xcf: () => Number(take(8).readBigUInt64BE()),
    0xd0: () => take(1).readInt8(),
    0xd1: () => take(2).readInt16BE(),
    0xd2: () => take(4).readInt32BE(),
    0xd3: () => Number(take(8).readBigInt64BE()),
    0xd4: () => extension(1),
    0xd5: () => extension(2),
    0xd9: () => text(uint(1)),
    0xda: () => text(uint(2)),
    0xdb: () => text(uint(4)),
    0xdc: () => list(uint(2)),
    0xdd: () => list(uint(4)),
    0xde: () => map(uint(2)),
    0xdf: () => map(uint(4)),
  };
  return value();
}

/** Writes one value, each part in its longest form: Terraform reads all of them. */
export function encode(value: Value): Buffer {
  if (value === null) return Buffer.from([0xc0]);
  if (value === unknown) return Buffer.from([0xd4, 0, 0]);
  switch (typeof value) {
    case 'boolean':
      return Buffer.from([value ? 0xc3 : 0xc2]);
    case 'number': {
      const double = Buffer.alloc(9, 0xcb);
      double.writeDoubleBE(value, 1);
      return double;
    }
    case 'string': {
      const bytes = Buffer.from(value);
      return Buffer.concat([head(0xdb, bytes.length), bytes]);
    }
    default:
      if (Array.isArray(value)) return Buffer.concat([head(0xdd, value.length), ...value.map(encode)]);
      return Buffer.concat([
        head(0xdf, Object.keys(value).length),
        ...Object.entries(value).flatMap(([key, each]) => [encode(key), encode(each)]),
      ]);
  }
}

function head(tag: number, length: number): Buffer {
  const bytes = Buffer.alloc(5, tag);
  bytes.writeUInt32BE(length, 1);
  return bytes;
}
