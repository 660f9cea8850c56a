/** Whose key is it? A key is known by its SHA-256 only; without keys configured, nobody gets in. */
import { hash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../engine/ports.ts';

export interface ProxyKey {
  /** The caller's; one who has two is changing keys. */
  name: string;
  /** SHA-256 of the key, in lower-case hex. */
  sha256: string;
  /** From then on the key is of no use; absent: never. */
  expiresAt?: number | undefined;
}

/** A key is a short secret; what is longer is not one, and is not worth hashing. */
const keyCharactersMax = 1024;

export type KeyCheck = { kind: 'known'; name: string } | { kind: 'expired' } | { kind: 'unknown' };

/** Makes the check of a key. */
export function createKeyCheck(keys: readonly ProxyKey[], now: Clock): (key: string) => KeyCheck {
  const known = keys.map((key) => ({ ...key, digest: Buffer.from(key.sha256, 'latin1') }));
  const digest = Buffer.alloc(64);
  return (key) => {
    if (key.length > keyCharactersMax) return { kind: 'unknown' };
    // As hex, and always in the same place: Node takes longer to make a buffer of it.
    digest.write(hash('sha256', key), 'latin1');
    let found: ProxyKey | null = null;
    // Every key is compared, in constant time each: the time taken says nothing of which one was close.
    for (const candidate of known) {
      if (candidate.digest.length === digest.length && timingSafeEqual(candidate.digest, digest)) found ??= candidate;
    }
    if (found === null) return { kind: 'unknown' };
    return found.expiresAt !== undefined && found.expiresAt <= now()
      ? { kind: 'expired' }
      : { kind: 'known', name: found.name };
  };
}
