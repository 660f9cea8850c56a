/**
 * What would Google bill? Calls of one good rollout at Google's own pace, of a day on which nothing happens, and of what the
 * proxy reports, counted: Google's clients speak to the emulator, on a clock that is moved, and the store counts documents.
 * What they cost is in docs/cost.md.
 */
import { readFile } from 'node:fs/promises';
import { recordPrediction } from '../../emulator/world/metrics.ts';
import { deployModel } from '../../emulator/world/deployments.ts';
import { findEndpoint } from '../../emulator/world/endpoints.ts';
import { bless } from '../../functions/engine/blessings.ts';
import { evidence } from '../../functions/engine/commands.ts';
import { limits } from '../../functions/engine/limits.ts';
import type { Ports, StorePort } from '../../functions/engine/ports.ts';
import { openSqliteStore } from '../../functions/engine/sqlite-store.ts';
import { reconcile } from '../../functions/engine/reconcile.ts';
import { tick } from '../../functions/engine/tick.ts';
import { vertexEndpoints } from '../../functions/gcp/endpoints.ts';
import { monitoringMetrics } from '../../functions/gcp/metrics.ts';
import { vertexModels } from '../../functions/gcp/models.ts';
import { parsePolicy } from '../../machines/policy/document.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { endpoint, type LocalVertex, model, startLocalVertex } from '../functions/gcp/local-vertex.ts';
import { flags } from '../simulation/vertex-views.ts';
import type { Bench } from '../bench.ts';

const minuteMs = 60_000;
const observing = { periodMs: minuteMs };
const REQUESTS_PER_MINUTE = 6000;
/** A rollout of delays.production.yaml takes 25 hours, of which the old version is kept for 24. */
const MINUTES_MAX = 2000;
const RECONCILE_MINUTES = 10;
const RECONCILES_PER_DAY = 144;
/** More models than one, to see what each further one adds. */
const MODELS = 11;

type Counts = Record<'calls' | 'invocations' | 'reads' | 'writes' | 'messages', number>;

interface Site {
  local: LocalVertex;
  ports: Ports;
  policies: Policy[];
  /** Of the ports that no emulated service stands behind here. */
  counts: Counts;
  isPaused: () => boolean;
}

export const bench: Bench = async (report) => {
  await using stack = new AsyncDisposableStack();
  const site = await open(stack);
  tell('One rollout, minute by minute …');
  let minutes = 0;
  const rollout = await counted(site, async () => {
    minutes = await promote(site);
  });
  for (const [what, value] of Object.entries(rollout)) report(`${what}_per_rollout`, value, what);
  report('minutes_per_rollout', minutes, 'minutes');
  for (const [method, { count }] of Object.entries(site.local.faults.calls().methods)) tell(`  ${count} × ${method}`);

  const one = await counted(site, () => idleDay(site));
  for (const [what, value] of Object.entries(one)) report(`${what}_per_idle_day`, value, what);
  const [policy] = site.policies;
  if (policy === undefined) throw new Error('Expected a policy');
  // For reconcile each policy is a model of its own.
  for (let i = 1; i < MODELS; i += 1) site.policies.push({ ...policy, name: `more-${i}` });
  const many = await counted(site, () => idleDay(site));
  report('calls_per_idle_day_and_further_model', (many.calls - one.calls) / (MODELS - 1), 'calls');
  report('reads_per_idle_day_and_further_model', (many.reads - one.reads) / (MODELS - 1), 'reads');

  const told = await counted(site, () => reportEvidence(site));
  report('reads_per_evidence', told.reads, 'reads');
  report('calls_per_evidence', told.calls, 'calls');
};

/** From the blessing until nothing is left to do; returns how many minutes that took. */
async function promote(site: Site): Promise<number> {
  const { local, ports } = site;
  const blessedAt = ports.now();
  site.counts.invocations += 1;
  await bless({ ports, project: 'demo' }, { eventId: 'bench', model, versionId: '2', blessedAt }, 'bench');
  for (let minute = 1; minute <= MINUTES_MAX; minute += 1) {
    serve(local);
    pass(local, minuteMs);
    site.counts.invocations += 1;
    await tick(ports, observing);
    if (minute % RECONCILE_MINUTES === 0) {
      site.counts.invocations += 1;
      await reconcile({ ports, project: 'demo' }, observing);
    }
    if (!site.isPaused()) continue;
    const { split, deployedModels } = findEndpoint(local.world.context, endpoint);
    const [left] = deployedModels;
    if (deployedModels.length > 1 || left?.versionId !== '2' || split[left.id] !== 100)
      throw new Error(`Expected version 2 alone at 100 %, got ${JSON.stringify(split)}`);
    return minute;
  }
  throw new Error(`Expected an end within ${MINUTES_MAX} minutes`);
}

async function idleDay(site: Site): Promise<void> {
  for (let i = 0; i < RECONCILES_PER_DAY; i += 1) {
    pass(site.local, RECONCILE_MINUTES * minuteMs);
    site.counts.invocations += 1;
    await reconcile({ ports: site.ports, project: 'demo' }, observing);
  }
}

/** One window of the proxy, of an endpoint on which no rollout is under way. */
async function reportEvidence({ ports }: Site): Promise<void> {
  const to = ports.now();
  const variants = { 1: { requests: 100, errors: 0, latencyMs: { bounds: [100], counts: [100, 0] } } };
  await evidence(ports, { endpoint, window: { from: to - limits.evidenceIntervalMs, to }, source: 'bench', variants });
}

/** A minute's requests, spread as the split says; all are answered well. */
function serve({ world }: LocalVertex): void {
  const found = findEndpoint(world.context, endpoint);
  for (const [deployedModelId, percent] of Object.entries(found.split)) {
    const prediction = { endpoint: found, deployedModelId, responseCode: 200, instances: 1, latencyMs: 20 };
    for (let i = 0; i < (REQUESTS_PER_MINUTE * percent) / 100; i += 1) recordPrediction(world.context, prediction);
  }
}

function pass(local: LocalVertex, ms: number): void {
  local.advance(ms);
  for (const { endpoint: name, deployedModelId } of local.world.containerOrders())
    local.world.reportContainer(name, deployedModelId, 'healthy', '');
  local.advance(0);
}

/** What was done meanwhile. */
async function counted({ counts, local }: Site, work: () => Promise<void>): Promise<Counts> {
  const before = { ...counts };
  local.faults.clearCalls();
  const write = process.stdout.write.bind(process.stdout);
  // Figures only: what the engine logs is of no interest here.
  process.stdout.write = () => true;
  await work().finally(() => (process.stdout.write = write));
  return {
    calls: counts.calls - before.calls + local.faults.calls().total,
    invocations: counts.invocations - before.invocations,
    reads: counts.reads - before.reads,
    writes: counts.writes - before.writes,
    messages: counts.messages - before.messages,
  };
}

async function open(stack: AsyncDisposableStack): Promise<Site> {
  const policies = [await readPolicy()];
  const local = await startLocalVertex();
  stack.defer(() => local.close());
  const { clients, environment, world } = local;
  const first = { id: '1', model: `${model}@1`, displayName: 'stable', ...flags };
  deployModel(world.context, endpoint, first, { '0': 100 });
  for (let minute = 0; minute < 10; minute += 1) pass(local, minuteMs);

  // Loaded now, without a deadline: on a busy machine that takes longer than any call may.
  const [models, endpoints] = await Promise.all([clients.models(), clients.endpoints(), clients.metrics()]);
  await Promise.all([models.getModel({ name: model }), endpoints.getEndpoint({ name: endpoint })]);

  const counts: Counts = { calls: 0, invocations: 0, reads: 0, writes: 0, messages: 0 };
  let isPaused = true;
  const job = <T>(act: () => T): Promise<T> => {
    counts.calls += 1;
    return Promise.resolve(act());
  };
  const store = openSqliteStore(':memory:');
  stack.defer(() => store.close());
  const ports: Ports = {
    endpoints: vertexEndpoints(clients),
    models: vertexModels(clients),
    metrics: monitoringMetrics(clients, environment, []),
    bus: {
      publish: (_topic, sent) => {
        counts.calls += 1;
        counts.messages += sent.length;
        return Promise.resolve();
      },
    },
    schedule: {
      pause: () => job(() => void (isPaused = true)),
      resume: () => job(() => void (isPaused = false)),
      isPaused: () => job(() => isPaused),
    },
    policies: {
      list: () => {
        counts.reads += policies.length;
        return Promise.resolve({ policies, problems: [] });
      },
    },
    store: counting(store, counts),
    now: () => world.context.now(),
  };
  return { local, ports, policies, counts, isPaused: () => isPaused };
}

/** As Firestore bills: each document that is read or written, and one read for a query without an answer. */
function counting(store: StorePort, counts: Counts): StorePort {
  async function reading<T>(asked: Promise<T>): Promise<T> {
    const found = await asked;
    counts.reads += Array.isArray(found) ? Math.max(1, found.length) : 1;
    return found;
  }
  return {
    load: (key) => reading(store.load(key)),
    listActive: (page) => reading(store.listActive(page)),
    listAll: (page) => reading(store.listAll(page)),
    isMarked: (mark) => reading(store.isMarked(mark)),
    readRollout: (id) => reading(store.readRollout(id)),
    listRollouts: (limit) => reading(store.listRollouts(limit)),
    listJournal: (rollout, limit) => reading(store.listJournal(rollout, limit)),
    commit: (change) => {
      counts.writes += 1 + change.journal.length + change.marks.length + change.archive.length;
      return store.commit(change);
    },
    close: () => store.close(),
  };
}

async function readPolicy(): Promise<Policy> {
  const text = await readFile(new URL('../../cli/policies/delays.production.yaml', import.meta.url), 'utf8');
  const ours = text.replaceAll('projects/local', 'projects/demo').replaceAll('endpoints/delays', 'endpoints/1');
  // Of drift only the proxy tells, and it is not here.
  const parsed = parsePolicy(ours.replace(/^.*drift:.*\n/m, ''));
  if (parsed.kind === 'invalid') throw new Error(JSON.stringify(parsed.problems));
  return parsed.policy;
}

function tell(note: string): void {
  process.stderr.write(`${note}\n`);
}
