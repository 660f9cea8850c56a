/**
 * Stored documents: one record is damaged on purpose, in its values or as text, beside one that is whole. The damaged one is
 * refused loudly and left as it is, and whatever is asked of the whole one is done as if it were alone.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { parseRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { command, evidence, incident } from '../../../functions/engine/commands.ts';
import { PermanentError } from '../../../functions/engine/errors.ts';
import { listRollouts, readRollout } from '../../../functions/engine/rollouts.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { damaged, damagedJson, jsonOf } from '../arbitraries.ts';
import type { Door, OpenDoor } from '../run.ts';
import { captured, endpoint, type FuzzWorld, type Moment, openWorld, parent, type Scene, sceneWith } from '../world.ts';

const asks = ['tick', 'reconcile', 'incident', 'abort', 'evidence', 'list'] as const;

export interface Damage {
  /** The document as text, which may be no JSON. */
  text: string;
  ask: (typeof asks)[number];
}

/** In memory where there is such a folder: a disk would be most of the time. */
const parentFolder = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const whole = `${parent}/endpoints/2`;
const brokenKey = endpointKey(endpoint);
const wholeKey = endpointKey(whole);

/** The store with a damaged record in it. */
export async function recordsDoor(): Promise<Door<Damage>> {
  const moments: Moment[] = ['deploying', 'watching', 'rollingBack', 'ended'];
  const sources: Scene[] = [];
  for (const moment of moments) sources.push(await sceneWith([endpoint], moment));
  const beside = await sceneWith([whole]);
  const scene: Scene = {
    ...beside,
    endpoints: [...beside.endpoints, ...(sources[1]?.endpoints ?? [])],
    at: beside.at + 30_000,
  };
  const record = fc.constantFrom<unknown>(...sources.flatMap(({ records }) => records));
  const text = fc.oneof(
    { weight: 12, arbitrary: damaged(record).map(jsonOf) },
    { weight: 2, arbitrary: damagedJson(record) },
  );
  return {
    name: 'records',
    inputs: fc.record({ text, ask: fc.constantFrom(...asks) }),
    open: () => Promise.resolve(openRecords(scene)),
  };
}

function openRecords(scene: Scene): OpenDoor<Damage> {
  const folder = mkdtempSync(join(parentFolder, 'fuzz-'));
  const path = join(folder, 'store.sqlite');
  const store = openSqliteStore(path);
  // As no port would: the text itself, whatever it is.
  const database = new DatabaseSync(path);
  const damage = database.prepare('INSERT INTO records (key, revision, is_active, data) VALUES (?, 1, 1, ?)');
  return {
    async admit({ text, ask }) {
      database.exec('DELETE FROM records; DELETE FROM marks; DELETE FROM journal; DELETE FROM rollouts');
      damage.run(brokenKey, text);
      return [await verdictOn(await openWorld(scene, store), text, ask)];
    },
    async close() {
      database.close();
      await store.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function verdictOn(world: FuzzWorld, text: string, ask: Damage['ask']): Promise<string> {
  const isReadable = parseRecord(decoded(text)).success;
  const before = await world.store.load(wholeKey);
  const lines: Record<string, unknown>[] = [];
  const restore = captured(lines);
  try {
    await asked(world, ask);
  } finally {
    restore();
  }
  const after = await world.store.load(wholeKey);
  if (ask !== 'list' && after?.revision === before?.revision)
    throw new Error(`The ${ask} of the whole record was not done: ${jsonOf(lines)}`);
  if (!parseRecord(after?.data).success) throw new Error('The whole record cannot be read any more');
  if (isReadable) return 'readable';
  if ((await world.store.load(brokenKey))?.revision !== '1') throw new Error('The damaged record was not left alone');
  const said = lines.some(({ severity, message }) => severity === 'CRITICAL' && String(message).includes(brokenKey));
  if (!said && (ask === 'tick' || ask === 'reconcile'))
    throw new Error(`Nobody was told of ${brokenKey}: ${jsonOf(lines)}`);
  return 'refused';
}

async function asked({ wiring, store }: FuzzWorld, ask: Damage['ask']): Promise<void> {
  const { ports, observing } = wiring;
  const at = ports.now();
  switch (ask) {
    case 'tick':
      await tick(ports, observing);
      return;
    case 'reconcile':
      await reconcile(wiring, observing);
      return;
    case 'incident':
      await incident(ports, {
        incident: { incident_id: 'i', state: 'open', resource: { labels: { endpoint_id: '2' } } },
      });
      return;
    case 'abort':
      await command(ports, { command: 'abort', endpoint: whole }, 'c');
      return;
    case 'evidence': {
      const variants = { 1: { requests: 9, errors: 0, latencyMs: { bounds: [], counts: [9] } } };
      await evidence(ports, { endpoint: whole, window: { from: at - 1000, to: at }, source: 'p', variants });
      return;
    }
    case 'list': {
      await listRollouts(store);
      for (const { id } of await store.listRollouts(10)) await readRollout(store, id).catch(unlessPermanent);
    }
  }
}

function unlessPermanent(error: unknown): void {
  if (!(error instanceof PermanentError)) throw error;
}

function decoded(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
