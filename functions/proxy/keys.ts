/** Who is calling? A key is known by its SHA-256 only; without keys configured, nobody gets in. */
import { hash, timingSafeEqual } from 'node:crypto';

export interface ProxyKey {
  name: string;
  /** SHA-256 of the key, in lower-case hex. */
  sha256: string;
}

/** A key is a short secret; what is longer is not one, and is not worth hashing. */
const keyCharactersMax = 1024;

/** Makes the check of a key: it answers with the key's name, or null when nobody was given that key. */
export function createKeyCheck(keys: readonly ProxyKey[]): (key: string) => string | null {
  const known = keys.map(({ name, sha256 }) => ({ name, digest: Buffer.from(sha256, 'hex') }));
  return (key) => {
    if (key.length > keyCharactersMax) return null;
    const digest = hash('sha256', key, 'buffer');
    let caller: string | null = null;
    // Every key is compared, in constant time each: the time taken says nothing of which one was close.
    for (const { name, digest: expected } of known) {
      if (expected.length === digest.length && timingSafeEqual(expected, digest)) caller ??= name;
    }
    return caller;
  };
}
