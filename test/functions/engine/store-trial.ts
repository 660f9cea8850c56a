/** A laboratory with a store that fails as it is told to, and what the tests do with it. */
import { afterEach, vi } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { command } from '../../../functions/engine/commands.ts';
import { TransientError } from '../../../functions/engine/errors.ts';
import { evidenceMessageSchema } from '../../../functions/engine/messages.ts';
import type { EndpointView, Ports, StorePort } from '../../../functions/engine/ports.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { parseRecord, type EndpointRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { endpoint, type Laboratory, laboratory, type LaboratoryOptions, model } from '../../simulation/laboratory.ts';

export const observing = { periodMs: 1000 };
export const unavailable = new TransientError('unavailable', 'the store is down');

type Call = Exclude<keyof StorePort, 'close'>;
/** Called at every call of the store, before it goes out and before its answer is seen. Throw to fail, wait to be slow. */
type StoreGate = (call: Call, moment: 'before' | 'after') => Promise<void> | void;

export interface Trial {
  lab: Laboratory;
  ports: Ports;
  store: StorePort;
  /** What is wrong with the store from now on; nothing, to begin with. */
  gate: StoreGate;
  /** Calls to the endpoint, in order. */
  calls: string[];
  /** Changes what the endpoint looks like, or fails, when it is read or its write is answered. */
  atEndpoint: (view: EndpointView, call: 'read' | 'writeSplit') => EndpointView;
}

const open: Trial[] = [];

afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  for (const { lab, store } of open.splice(0)) await Promise.all([lab.close(), store.close()]);
});

export function begin(options: LaboratoryOptions = {}, store?: StorePort): Trial {
  const lab = laboratory({ behaviour: { 3: { errorRatio: 0.3 } }, ...options });
  const kept = store ?? openSqliteStore(':memory:');
  const { endpoints } = lab.ports;
  const see = async (call: 'read' | 'writeSplit', asked: Promise<EndpointView>) => {
    trial.calls.push(call);
    return trial.atEndpoint(await asked, call);
  };
  const trial: Trial = {
    lab,
    store: kept,
    gate: () => {},
    calls: [],
    atEndpoint: (view) => view,
    ports: {
      ...lab.ports,
      endpoints: {
        ...endpoints,
        read: (name) => see('read', endpoints.read(name)),
        writeSplit: (name, split, etag) => see('writeSplit', endpoints.writeSplit(name, split, etag)),
      },
      store: gated(kept, (call, moment) => trial.gate(call, moment)),
    },
  };
  open.push(trial);
  return trial;
}

function gated(store: StorePort, gate: StoreGate): StorePort {
  const through =
    <Name extends Call, Answer>(call: Name, work: (...args: Parameters<StorePort[Name]>) => Promise<Answer>) =>
    async (...args: Parameters<StorePort[Name]>): Promise<Answer> => {
      await gate(call, 'before');
      const answer = await work(...args);
      await gate(call, 'after');
      return answer;
    };
  return {
    load: through('load', (key) => store.load(key)),
    listActive: through('listActive', (page) => store.listActive(page)),
    listAll: through('listAll', (page) => store.listAll(page)),
    commit: through('commit', (change) => store.commit(change)),
    isMarked: through('isMarked', (mark) => store.isMarked(mark)),
    readRollout: through('readRollout', (id) => store.readRollout(id)),
    listRollouts: through('listRollouts', (limit) => store.listRollouts(limit)),
    listJournal: through('listJournal', (rollout, limit) => store.listJournal(rollout, limit)),
    close: () => store.close(),
  };
}

/** Fails these calls, or all, before they arrive or after. */
export function down(calls: Call[] | 'all' = 'all', when: 'before' | 'after' = 'before'): StoreGate {
  return (call, moment) => {
    if (moment === when && (calls === 'all' || calls.includes(call))) throw unavailable;
  };
}

export async function recordOf({ store }: Trial): Promise<EndpointRecord> {
  const record = parseRecord((await store.load(endpointKey(endpoint)))?.data);
  if (!record.success) throw record.error;
  return record.data;
}

export async function canaryOf(trial: Trial): Promise<string> {
  return (await recordOf(trial)).active?.context.canaryId ?? 'no rollout is active';
}

export async function idOf(trial: Trial): Promise<string> {
  return (await recordOf(trial)).active?.context.id ?? 'no rollout is active';
}

export async function second(trial: Trial): Promise<void> {
  trial.lab.pass(1);
  await tick(trial.ports, observing);
}

/** Blesses a version, and lets time pass until its canary has this share, confirmed. */
export async function canaryAt(trial: Trial, percent: number, versionId = '2'): Promise<void> {
  await bless({ ports: trial.ports, project: 'demo' }, { eventId: versionId, model, versionId }, 'm');
  for (let i = 0; i < 60; i += 1) {
    await second(trial);
    const { context } = (await recordOf(trial)).active ?? {};
    if (context?.traffic.confirmed?.[context.canaryId] === percent) {
      trial.lab.writes.length = 0;
      trial.calls.length = 0;
      return;
    }
  }
  throw new Error(`the canary never had ${percent} %: ${JSON.stringify(trial.lab.split())}`);
}

export function abort({ ports }: Trial, named: { endpoint?: string; rollout?: string } = { endpoint }) {
  return command(ports, { command: 'abort', ...named, by: 'ann', reason: 'test', commandId: 'abort' }, 'm');
}

/** A second passes, in which the proxy sees the canary fail. */
export async function badNews(trial: Trial) {
  trial.lab.pass(1);
  const to = trial.lab.now();
  const counts = (requests: number, errors: number) => ({
    requests,
    errors,
    latencyMs: { bounds: [20], counts: [requests, 0] },
  });
  const window = { from: new Date(to - 1000).toISOString(), to: new Date(to).toISOString() };
  const variants = { 1: counts(6000, 0), [await canaryOf(trial)]: counts(2000, 1500) };
  return evidenceMessageSchema.parse({ endpoint, window, source: 'proxy', variants });
}

export function alert() {
  return { incident: { incident_id: 'i', state: 'open', resource: { labels: { endpoint_id: '1' } } } };
}

/** For atEndpoint: stable has no replica that could serve. */
export function stableUnready(view: EndpointView): EndpointView {
  const deployedModels = view.deployedModels.map((one) => ({ ...one, availableReplicas: one.id === '1' ? 0 : 1 }));
  return { ...view, deployedModels };
}

/** What is logged from now on. */
export function listen(): string[] {
  const said: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  return said;
}

/** Ticks until nothing is active; how the rollout ended. */
export async function ending(trial: Trial): Promise<string> {
  for (let i = 0; i < 60; i += 1) {
    const { active, history } = await recordOf(trial);
    if (active === null) return history[0]?.state ?? 'none';
    await second(trial);
  }
  return `never: ${JSON.stringify((await recordOf(trial)).active?.value)}`;
}
