/**
 * What is the world like now? Carries out looks for many rollouts at once and turns what is seen into events.
 * A look that fails says nothing: the next tick looks again, and the state's deadline bounds how often.
 */
import { type Evidence, type EvidenceWindow, UNATTRIBUTED } from '../../machines/analysis/evidence.ts';
import { nth } from '../../machines/nth.ts';
import { looksOf, type Look } from '../../machines/rollout/effects.ts';
import type { RolloutEvent } from '../../machines/rollout/events.ts';
import type { StoredRollout } from '../../machines/rollout/snapshot.ts';
import { mapLimited } from './concurrency.ts';
import { isPlatformError, PermanentError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import { observedModels } from './perform.ts';
import type { Ports } from './ports.ts';

/** Metrics are sampled once a minute; the emulator may sample as often as its time scale says. */
export interface Observing {
  periodMs: number;
}

/** Events for each rollout, in the order given. Metrics of all rollouts are read together, everything else one by one. */
export async function observe(
  ports: Ports,
  rollouts: StoredRollout[],
  { periodMs }: Observing,
): Promise<RolloutEvent[][]> {
  const at = ports.now();
  const looks = rollouts.map((rollout) => looksOf(rollout, at, periodMs));
  const evidence = await readEvidence(ports, rollouts, looks, periodMs);
  return mapLimited([...rollouts.entries()], limits.concurrencyMax, async ([i, rollout]) => {
    const others = nth(looks, i).filter((look) => !isMetricLook(look));
    return [...(await lookAll(ports, rollout, others)), ...nth(evidence, i)];
  });
}

async function lookAll(ports: Ports, { context }: StoredRollout, looks: WorldLook[]): Promise<RolloutEvent[]> {
  const events: RolloutEvent[] = [];
  for (const look of looks) {
    try {
      const event = await lookOnce(ports, context, look);
      if (event !== null) events.push(event);
      if (event?.type === 'target.missing') break;
    } catch (error) {
      if (!isPlatformError(error)) throw error;
      log('WARNING', `Could not look (${look.type}): ${error.message}`, { rollout: context.id, code: error.code });
      const gone = error instanceof PermanentError && error.code === 'notFound' ? whenGone(ports, context, look) : null;
      if (gone !== null) events.push(gone);
      break;
    }
  }
  return events;
}

/** What it means that the thing looked at does not exist. An operation is forgotten by the platform after a while. */
function whenGone(ports: Ports, { endpoint }: StoredRollout['context'], look: WorldLook): RolloutEvent | null {
  const at = ports.now();
  if (look.type === 'endpoint.read')
    return { type: 'target.missing', at, message: `Endpoint ${endpoint} does not exist.` };
  if (look.type !== 'operation.poll') return null;
  const error = { code: 'NOT_FOUND', message: 'the operation is not known any more' };
  return { type: 'operation.finished', at, operation: look.operation, error };
}

async function lookOnce(
  ports: Ports,
  context: StoredRollout['context'],
  look: WorldLook,
): Promise<RolloutEvent | null> {
  switch (look.type) {
    case 'endpoint.read': {
      const view = await ports.endpoints.read(context.endpoint);
      return { type: 'endpoint.observed', at: ports.now(), split: view.split, models: observedModels(view) };
    }
    case 'model.read': {
      const version = await ports.models.readVersion(context.model, context.versionId);
      if (version !== null) return null;
      const message = `Version ${context.versionId} of ${context.model} does not exist.`;
      return { type: 'target.missing', at: ports.now(), message };
    }
    case 'operation.poll': {
      const { done, error } = await ports.endpoints.readOperation(look.operation);
      return done ? { type: 'operation.finished', at: ports.now(), operation: look.operation, error } : null;
    }
  }
}

type MetricLook = Extract<Look, { window: EvidenceWindow }>;
type WorldLook = Exclude<Look, MetricLook>;

function isMetricLook(look: Look): look is MetricLook {
  return 'window' in look;
}

async function readEvidence(
  ports: Ports,
  rollouts: StoredRollout[],
  looks: Look[][],
  periodMs: number,
): Promise<RolloutEvent[][]> {
  const events: RolloutEvent[][] = rollouts.map(() => []);
  const asked = [...rollouts.entries()].flatMap(([i, { context }]) =>
    nth(looks, i)
      .filter(isMetricLook)
      .map((look) => ({ i, look, query: queryOf(context, look, periodMs) })),
  );
  if (asked.length === 0) return events;
  try {
    const answers = await ports.metrics.read(asked.map(({ query }) => query));
    for (const [k, { i, look, query }] of asked.entries()) {
      const windows = (answers[k] ?? []).filter(({ window }) => window.fromAt >= look.window.fromAt);
      for (const note of windows.flatMap(({ notes }) => notes ?? []))
        log('WARNING', note, { endpoint: query.endpoint });
      events[i]?.push(...observedIn(windows.filter(hasRequests), look, ports.now()));
    }
  } catch (error) {
    if (!isPlatformError(error)) throw error;
    log('WARNING', `Could not read metrics: ${error.message}`, { code: error.code });
  }
  return events;
}

function queryOf({ endpoint, ...context }: StoredRollout['context'], { window }: MetricLook, periodMs: number) {
  const { model, versionId, canaryId, stableModels, policy, tally } = context;
  const models = [{ id: canaryId, model, versionId }, ...stableModels];
  const checks = policy.analysis.checks.filter(({ from }) => from.kind !== 'reported');
  // What a check saw in a period without requests is told in the next that has some, which then must be the rollout's own.
  const asked = checks.length === 0 ? sharedWindow(window, periodMs) : window;
  return { endpoint, window: asked, sinceAt: tally.effectAt ?? window.fromAt, periodMs, models, checks };
}

/**
 * The window, made longer at its beginning to the next power of two periods. Queries about one window share their calls,
 * and so those who wait for their first requests, each since another moment, ask about seven windows at most.
 */
function sharedWindow({ fromAt, toAt }: EvidenceWindow, periodMs: number): EvidenceWindow {
  const periods = 2 ** Math.ceil(Math.log2((toAt - fromAt) / periodMs));
  return { fromAt: Math.min(fromAt, toAt - Math.min(periods, limits.evidencePeriodsMax) * periodMs), toAt };
}

function observedIn(windows: Evidence[], look: MetricLook, at: number): RolloutEvent[] {
  if (look.type === 'evidence.read') return windows.map((evidence) => ({ type: 'evidence.observed', at, evidence }));
  return windows.length === 0 ? [] : [{ type: 'past.observed', at, windows }];
}

/** An empty window is not evidence of anything; it is asked for again, longer, until something shows or patience ends. */
function hasRequests({ variants }: Evidence): boolean {
  return Object.entries(variants).some(([id, { requests }]) => id !== UNATTRIBUTED && requests > 0);
}
