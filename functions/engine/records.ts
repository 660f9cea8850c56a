/** Which record does an endpoint have? Loading and parsing, with a clear word for what cannot be read. */
import { type EndpointRecord, emptyRecord, parseRecord } from '../../machines/rollout/record.ts';
import { endpointKey } from '../../machines/rollout/resource-name.ts';
import { snapshotSchemaVersion } from '../../machines/rollout/snapshot.ts';
import { PermanentError } from './errors.ts';
import type { Ports, Stored } from './ports.ts';

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

export function parseStored(stored: Stored): Loaded {
  const parsed = parseRecord(stored.data);
  if (parsed.success) return { record: parsed.data, revision: stored.revision };
  const schema =
    typeof stored.data === 'object' && stored.data !== null && 'schema' in stored.data ? stored.data.schema : null;
  const why =
    typeof schema === 'number' && schema > snapshotSchemaVersion
      ? `was written by a newer version (schema ${schema}, this code knows ${snapshotSchemaVersion}); deploy that version`
      : `is damaged at ${parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')}; restore it from a backup, or delete it`;
  throw new PermanentError('internal', `The record of endpoint ${stored.key} ${why}.`);
}
