/** How does a bundle travel? As a ZIP: the same bytes for the same files, so that its hash names its content. */
import { crc32, deflateRawSync } from 'node:zlib';

/** DOS time for 1980-01-01 00:00, the earliest there is: when a bundle was made must not change it. */
const DATE = 0x21;
/** Made on Unix, so that the mode below counts. */
const MADE_BY = 0x3_14;
const NEEDS = 20;
const UTF8 = 0x8_00;
const DEFLATED = 8;
/** A regular file that everybody may read. */
const MODE = (0o100_644 << 16) >>> 0;

/** Packs files by their paths, in the order of these. @see https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT */
export function zipOf(files: Record<string, Uint8Array | string>): Buffer {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const path of Object.keys(files).toSorted()) {
    const content = Buffer.from(files[path] ?? '');
    const name = Buffer.from(path);
    const packed = deflateRawSync(content, { level: 9 });
    const common = [
      ...u16(NEEDS, UTF8, DEFLATED, 0, DATE),
      ...u32(crc32(content), packed.length, content.length),
      ...u16(name.length, 0),
    ];
    const body = [Buffer.from([...u32(0x04_03_4b_50), ...common]), name, packed];
    directory.push(
      Buffer.from([...u32(0x02_01_4b_50), ...u16(MADE_BY), ...common, ...u16(0, 0, 0), ...u32(MODE, offset)]),
      name,
    );
    bodies.push(...body);
    offset += body.reduce((sum, { length }) => sum + length, 0);
  }
  const count = directory.length / 2;
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const end = [...u32(0x06_05_4b_50), ...u16(0, 0, count, count), ...u32(size, offset), ...u16(0)];
  return Buffer.concat([...bodies, ...directory, Buffer.from(end)]);
}

function u16(...values: number[]): number[] {
  return values.flatMap((value) => [value & 0xff, value >>> 8]);
}

function u32(...values: number[]): number[] {
  return values.flatMap((value) => [...u16(value & 0xff_ff), ...u16(value >>> 16)]);
}
