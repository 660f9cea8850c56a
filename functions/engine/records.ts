/** Which record does an endpoint have? Loading and parsing, with a clear word for what cannot be read. */
import type { z } from 'zod';
import { type EndpointRecord, emptyRecord, parseRecord } from '../../machines/rollout/record.ts';
import { endpointKey, parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { snapshotSchemaVersion } from '../../machines/rollout/snapshot.ts';
import { PermanentError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import type { Page, Ports, Stored } from './ports.ts';

/** A record and the revision that a commit must name to replace it; null when there is no document yet. */
export interface Loaded {
  record: EndpointRecord;
  revision: string | null;
}

/** Loads an endpoint's record. A damaged one, or one of a newer version of this code, is a PermanentError. */
export async function loadRecord(ports: Ports, endpoint: string): Promise<Loaded> {
  const stored = await ports.store.load(endpointKey(endpoint));
  return stored === null ? { record: emptyRecord(endpoint), revision: null } : parseStored(stored);
}

/** Parses what a store had. A record that names another endpoint than its key is damaged too: it would act there. */
export function parseStored({ key, data, revision }: Stored): Loaded {
  const parsed = parseRecord(data);
  if (!parsed.success)
    throw new PermanentError('internal', `The record of endpoint ${key} ${whyUnreadable(data, parsed)}.`);
  const { endpoint, active } = parsed.data;
  const stranger = [endpoint, active?.context.endpoint ?? endpoint].find((name) => keyOf(name) !== key);
  if (stranger === undefined) return { record: parsed.data, revision };
  const text = `The record of endpoint ${key} is damaged: it names ${JSON.stringify(stranger).slice(0, 200)}; ${remedy}.`;
  throw new PermanentError('internal', text);
}

/** Those that can be read. One that cannot is reported, and does not stop the others. */
export function readable(stored: Stored[]): Loaded[] {
  return stored.flatMap((one) => {
    try {
      return [parseStored(one)];
    } catch (error) {
      if (!(error instanceof PermanentError)) throw error;
      log('CRITICAL', error.message, { endpoint: one.key });
      return [];
    }
  });
}

/** The records of a list one after the other, a page of them in memory. Keys ascend, so it ends; `pagesMax` ends it sooner. */
export async function* paged(
  list: (page: Page) => Promise<Stored[]>,
  pagesMax = Number.POSITIVE_INFINITY,
): AsyncGenerator<Stored> {
  const limit = limits.recordsPerTick;
  let after: string | null = null;
  for (let page = 0; page < pagesMax; page += 1) {
    const found: Stored[] = await list({ after, limit });
    yield* found;
    const last = found.at(-1);
    if (last === undefined || found.length < limit) return;
    after = last.key;
  }
}

const remedy = 'restore it from a backup, or delete it';

function whyUnreadable(data: unknown, { error }: z.ZodSafeParseError<unknown>): string {
  const schema = typeof data === 'object' && data !== null && 'schema' in data ? data.schema : null;
  if (typeof schema === 'number' && schema > snapshotSchemaVersion) {
    return `was written by a newer version (schema ${schema}, this code knows ${snapshotSchemaVersion}); deploy that version`;
  }
  const places = error.issues
    .slice(0, limits.problemsMax)
    .map(({ path }) => path.join('.').slice(0, limits.problemCharsMax));
  const more = error.issues.length > places.length ? `, and ${error.issues.length - places.length} more` : '';
  return `is damaged at ${places.map((place) => place || 'its beginning').join(', ')}${more}; ${remedy}`;
}

function keyOf(endpoint: string): string | null {
  return parseEndpointName(endpoint) === null ? null : endpointKey(endpoint);
}
