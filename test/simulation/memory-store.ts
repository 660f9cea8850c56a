/**
 * A store in memory for simulations that need thousands of them: the same contract as the real ones, a hundred times
 * as fast. It also remembers the revision before the newest, as a reader sees it whose read is stale.
 */
import { PermanentError } from '../../functions/engine/errors.ts';
import type {
  ArchivedRollout,
  Commit,
  CommitResult,
  JournalEntry,
  Page,
  Stored,
  StorePort,
} from '../../functions/engine/ports.ts';

export interface MemoryStore extends StorePort {
  /** The revision before the newest; the newest where there is only one. */
  loadBefore(key: string): Stored | null;
  /** What load() resolves to, at once. */
  read(key: string): Stored | null;
  /** What commit() resolves to, at once. */
  apply(change: Commit): CommitResult;
  /** The records as they are now, or as they were one revision ago. */
  list(isActiveOnly: boolean, page?: Page, isStale?: boolean): Stored[];
}

interface Version {
  /** As committed: the engine has checked it against the record's schema, and whoever reads it parses it into a copy. */
  data: unknown;
  revision: number;
  isActive: boolean;
}

const everything: Page = { after: null, limit: Number.POSITIVE_INFINITY };

export function memoryStore(): MemoryStore {
  const records = new Map<string, { now: Version; before: Version }>();
  const marks = new Set<string>();
  const journals = new Map<string, JournalEntry[]>();
  const rollouts = new Map<string, ArchivedRollout>();

  function storedOf(key: string, version: Version | undefined): Stored | null {
    if (version === undefined) return null;
    return { key, data: version.data, revision: String(version.revision) };
  }

  function apply({ key, expected, data, isActive, journal, marks: used, archive }: Commit): CommitResult {
    const mark = used.find((one) => marks.has(one));
    if (mark !== undefined) return { kind: 'duplicate', mark };
    const found = records.get(key);
    if ((found === undefined ? null : String(found.now.revision)) !== expected) return { kind: 'conflict' };
    for (const { rollout, at, sequence } of journal) {
      if (journals.get(rollout)?.some((entry) => entry.at === at && entry.sequence === sequence) === true)
        throw new PermanentError('alreadyExists', `the journal of ${rollout} has entry ${at}/${sequence} already`);
    }
    const now = { data, revision: (found?.now.revision ?? 0) + 1, isActive };
    records.set(key, { now, before: found?.now ?? now });
    for (const one of used) marks.add(one);
    for (const entry of journal) {
      const entries = journals.get(entry.rollout);
      if (entries === undefined) journals.set(entry.rollout, [entry]);
      else entries.push(entry);
    }
    for (const summary of archive) rollouts.set(summary.id, summary);
    return { kind: 'committed', revision: String(now.revision) };
  }

  function list(isActiveOnly: boolean, { after, limit }: Page = everything, isStale = false): Stored[] {
    const found: Stored[] = [];
    for (const key of [...records.keys()].toSorted()) {
      const versions = records.get(key);
      const version = isStale ? versions?.before : versions?.now;
      if ((after !== null && key <= after) || found.length >= limit) continue;
      if (isActiveOnly && version?.isActive !== true) continue;
      const stored = storedOf(key, version);
      if (stored !== null) found.push(stored);
    }
    return found;
  }

  const read = (key: string): Stored | null => storedOf(key, records.get(key)?.now);
  const bySequence = (a: JournalEntry, b: JournalEntry): number => a.sequence - b.sequence;
  return {
    read,
    apply,
    list,
    loadBefore: (key) => storedOf(key, records.get(key)?.before),
    load: (key) => Promise.resolve(read(key)),
    listActive: (page) => Promise.resolve(list(true, page)),
    listAll: (page) => Promise.resolve(list(false, page)),
    commit: (change) => new Promise((resolve) => resolve(apply(change))),
    isMarked: (mark) => Promise.resolve(marks.has(mark)),
    readRollout: (id) => Promise.resolve(rollouts.get(id) ?? null),
    listRollouts: (limit) =>
      Promise.resolve([...rollouts.values()].toSorted((a, b) => b.startedAt - a.startedAt).slice(0, limit)),
    listJournal: (rollout, limit) =>
      Promise.resolve((journals.get(rollout) ?? []).toSorted(bySequence).slice(0, limit)),
    close: () => Promise.resolve(),
  };
}
