/**
 * How would a rollout have gone? Lives one through: the real statechart, events in virtual time, traffic by chance from a
 * seed. The same policy, cell, seed and source, the same life.
 */
import { type Random, seededRandom } from '../../emulator/models/random.ts';
import { addCounts, type Evidence, noCounts, type VariantCounts } from '../../machines/analysis/evidence.ts';
import { monitoringFrom } from '../../machines/analysis/tally.ts';
import { parsePolicy } from '../../machines/policy/document.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { percentOf, stateOf } from '../../machines/rollout/describe.ts';
import { effectsOf, looksOf } from '../../machines/rollout/effects.ts';
import type { RolloutEvent } from '../../machines/rollout/events.ts';
import { machineLimits } from '../../machines/rollout/limits.ts';
import { type StoredRollout, startRollout, stepRollout } from '../../machines/rollout/snapshot.ts';
import { drawBinomial } from '../chance.ts';
import { type Cell, horizonSeconds } from './cells.ts';
import { beginWorld, type Slot, slotSeconds } from './world.ts';

/** Where evidence comes from: how often, how late, and whether a proxy reports beside it. */
export interface Source {
  name: string;
  /** Of the source that may raise a share. Whole slots. */
  periodSeconds: number;
  lagSeconds: number;
  /** A proxy that may only lower it: its interval, which is also its lag. Null: there is none. */
  proxySeconds: number | null;
  /** To how many instances of it the requests are dealt by chance; one where absent. */
  instances?: number;
  /** Its points may have begun a period before they are dated, so a step's first period is left out. */
  isAligned: boolean;
  /** For how long stable was watched before the first share; three hours where absent. */
  pastSeconds?: number;
}

export const sources = {
  /** Cloud Monitoring: a point a minute, three minutes late. */
  monitoring: { name: 'Monitoring', periodSeconds: 60, lagSeconds: 180, proxySeconds: null, isAligned: true },
  /** As if the proxy's counts could also raise a share. */
  proxy: { name: 'proxy', periodSeconds: 5, lagSeconds: 5, proxySeconds: null, isAligned: false },
  /** What is deployed: Monitoring raises, both roll back. */
  both: { name: 'Monitoring and proxy', periodSeconds: 60, lagSeconds: 180, proxySeconds: 5, isAligned: true },
} as const satisfies Record<string, Source>;

/** What is deployed, with the proxy grown. */
export const manyProxies: Source = { ...sources.both, name: 'Monitoring and 20 proxies', instances: 20 };

export interface LifeResult {
  /**
   * `proven`: promoted and kept; `contained`: failed alone, and waits for a person at a share where it does not;
   * `waiting`: none of these when the horizon came.
   */
  end: 'proven' | 'rolledBack' | 'contained' | 'paused' | 'waiting';
  minutes: number;
  minutesTo100: number | null;
  /** Errors (or slow answers, where that is the fault) of the canary beyond stable's, on average. */
  excessErrors: number;
  /** Requests that the canary served. */
  exposure: number;
  /** From the first harm to the rollback. */
  detectionSeconds: number | null;
  /** Why it ended. */
  reason: string;
}

const canaryId = '77';
const stableId = '1';
const model = 'projects/demo/locations/us-central1/models/delays';
const endpoint = 'projects/demo/locations/us-central1/endpoints/1';
/** Second 0 of a life, in milliseconds: when the first share takes effect. */
const beginAt = 1_000_000 * 3_600_000;
const usualPastSeconds = 3 * 3600;

/** The policy of the study: the default one with its holds set to nothing, reading as late as the source is. */
export function studyPolicy(source: Source, spec = ''): Policy {
  const result = parsePolicy(`
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: study }
spec:
  match: { model: ${model} }
  endpoint: ${endpoint}
  steps: [ { percent: 5, hold: 0s }, { percent: 25, hold: 0s }, { percent: 50, hold: 0s }, { percent: 100, hold: 0s } ]
  analysis: { metricLag: ${source.lagSeconds}s }
${spec}`);
  if (result.kind === 'invalid') throw new Error(`the study's policy is wrong: ${JSON.stringify(result.problems)}`);
  return result.policy;
}

/** Lives one rollout. Ends when it is rolled back, paused by itself, or proven; else at the cell's horizon. */
export function liveOnce(policy: Policy, cell: Cell, seed: number, source: Source): LifeResult {
  const world = beginWorld(cell, seed);
  const slots: Slot[] = [];
  const pastSeconds = source.pastSeconds ?? usualPastSeconds;
  const firstSlot = -pastSeconds / slotSeconds;
  const place = { percent: 0, sinceSecond: -pastSeconds };
  const serveUntil = (second: number): void => {
    for (let at = (firstSlot + slots.length) * slotSeconds; at < second; at += slotSeconds)
      slots.push(world.serve({ second: at, percent: place.percent, heldSeconds: at - place.sinceSecond }));
  };
  const seen = (name: string, fromSecond: number, toSecond: number): RolloutEvent | null => {
    const inside = slots
      .slice(fromSecond / slotSeconds - firstSlot, toSecond / slotSeconds - firstSlot)
      .filter((_, i) => !isInGap(cell, fromSecond + i * slotSeconds));
    const isProxy = name === 'proxy a' || source.name === sources.proxy.name;
    const counts = inside.map((slot) => (isProxy ? slot.byProxy : slot));
    const [canary, stable] = [sum(counts, 'canary'), sum(counts, 'stable')];
    if (canary.requests + stable.requests === 0) return null;
    const window = { fromAt: beginAt + fromSecond * 1000, toAt: beginAt + toSecond * 1000 };
    const evidence: Evidence = { source: name, window, variants: { [canaryId]: canary, [stableId]: stable } };
    return { type: 'evidence.observed', at: 0, evidence };
  };

  // Its own chances: with one instance a life is as it would be.
  const dealing = seededRandom(0x6465616c + seed);
  serveUntil(0);
  let rollout = begin(policy, seed);
  const take = (event: RolloutEvent | null, second: number): void => {
    if (event !== null) rollout = stepRollout(rollout, { ...event, at: beginAt + second * 1000 });
  };
  for (let at = -pastSeconds; at + 60 <= -source.lagSeconds; at += 60) take(seen('monitoring', at, at + 60), 0);
  const shown = { harmAt: Number.NaN, fullAt: Number.NaN };
  const exposure = { requests: 0, excess: 0 };
  deploy(take);

  const horizon = cell.horizonSeconds ?? horizonSeconds;
  let second = 0;
  for (; second < horizon; second += slotSeconds) {
    if (effectsOf(rollout, beginAt + second * 1000).some(({ type }) => type === 'traffic.apply')) {
      const { desired: split, generation } = rollout.context.traffic;
      take({ type: 'traffic.applied', at: 0, split, generation }, second);
      place.percent = percentOf(rollout);
      place.sinceSecond = second;
      if (place.percent === 100 && Number.isNaN(shown.fullAt)) shown.fullAt = second;
    }
    const end = endOf(rollout, beginAt + (second - (cell.watchSeconds ?? 0)) * 1000);
    if (end !== null) return result(end, rollout);
    serveUntil(second + slotSeconds);
    const slot = slots.at(-1);
    if (slot !== undefined) {
      exposure.requests += slot.canary.requests;
      exposure.excess += slot.excess;
      if (slot.excess > 0 && Number.isNaN(shown.harmAt)) shown.harmAt = second;
    }
    observe(second + slotSeconds);
  }
  return result('waiting', rollout);

  function observe(now: number): void {
    const { proxySeconds, periodSeconds } = source;
    if (proxySeconds !== null && now % proxySeconds === 0 && now >= 2 * proxySeconds)
      for (const event of instances(seen('proxy a', now - 2 * proxySeconds, now - proxySeconds))) take(event, now);
    if (now % periodSeconds !== 0) return;
    const window = dueWindow(rollout, now, source);
    if (window !== null) take(seen('monitoring', window.from, window.to), now);
    take({ type: 'clock.ticked', at: 0 }, now);
  }

  /** What each instance tells of what all of them saw. */
  function instances(event: RolloutEvent | null): RolloutEvent[] {
    const count = source.instances ?? 1;
    if (event?.type !== 'evidence.observed' || count === 1) return event === null ? [] : [event];
    const variants = Object.entries(event.evidence.variants).map(
      ([id, all]) => [id, dealt(dealing, all, count)] as const,
    );
    return Array.from({ length: count }, (_, i) => ({
      ...event,
      evidence: {
        ...event.evidence,
        source: `proxy ${i}`,
        variants: Object.fromEntries(variants.map(([id, parts]) => [id, parts[i] ?? noCounts])),
      },
    }));
  }

  function result(end: LifeResult['end'], { context }: StoredRollout): LifeResult {
    const isCaught = (end === 'rolledBack' || end === 'contained') && !Number.isNaN(shown.harmAt);
    return {
      end,
      minutes: second / 60,
      minutesTo100: Number.isNaN(shown.fullAt) ? null : shown.fullAt / 60,
      excessErrors: exposure.excess,
      exposure: exposure.requests,
      detectionSeconds: isCaught ? second - shown.harmAt : null,
      reason: context.ending?.reason ?? context.paused?.reason ?? context.reason,
    };
  }
}

function begin(policy: Policy, seed: number): StoredRollout {
  const blessing = { eventId: `seed ${seed}`, model, versionId: '2', blessedAt: beginAt, by: null };
  const rollout = startRollout({ id: 'study', endpoint, canaryId, blessing, policy, at: beginAt });
  const stable = { id: stableId, model, versionId: '1', minReplicas: 1, availableReplicas: 1 };
  return stepRollout(rollout, {
    type: 'endpoint.observed',
    at: beginAt,
    split: { [stableId]: 100 },
    models: [stable],
  });
}

function deploy(take: (event: RolloutEvent, second: number) => void): void {
  const stable = { id: stableId, model, versionId: '1', minReplicas: 1, availableReplicas: 1 };
  const canary = { ...stable, id: canaryId, versionId: '2' };
  take({ type: 'deploy.started', at: 0, operation: 'deploy' }, 0);
  take({ type: 'operation.finished', at: 0, operation: 'deploy', error: null }, 0);
  take({ type: 'endpoint.observed', at: 0, split: { [stableId]: 100 }, models: [stable, canary] }, 0);
}

/** What the source would be read for now, in seconds. */
function dueWindow(rollout: StoredRollout, now: number, source: Source): { from: number; to: number } | null {
  const look = looksOf(rollout, beginAt + now * 1000, source.periodSeconds * 1000).find(
    ({ type }) => type === 'evidence.read',
  );
  if (source.isAligned)
    return look?.type === 'evidence.read'
      ? { from: (look.window.fromAt - beginAt) / 1000, to: (look.window.toAt - beginAt) / 1000 }
      : null;
  const fromAt = monitoringFrom(rollout.context.tally);
  const [from, to] = [((fromAt ?? beginAt) - beginAt) / 1000, now - source.lagSeconds];
  return fromAt === null || to <= from ? null : { from, to };
}

function endOf(rollout: StoredRollout, watchedUntil: number): LifeResult['end'] | null {
  const state = stateOf(rollout);
  if (state === 'rollingBack' || state === 'rolledBack') return 'rolledBack';
  const { promotedAt, paused, suspicions, effectAt } = rollout.context;
  if (promotedAt !== null) return promotedAt <= watchedUntil ? 'proven' : null;
  if (paused === null) return null;
  if (suspicions < machineLimits.suspicionsMax) return 'paused';
  return effectAt === null ? null : 'contained';
}

function sum(counts: readonly Slot['byProxy'][], variant: 'canary' | 'stable'): VariantCounts {
  return counts.reduce((total, one) => addCounts(total, one[variant]), noCounts);
}

/** Each request to an instance by chance. */
function dealt(random: Random, { requests, errors, latencyMs }: VariantCounts, count: number): VariantCounts[] {
  const slow = Math.min(latencyMs.counts[2] ?? 0, requests - errors);
  const left = { errors, slow, fast: requests - errors - slow };
  return Array.from({ length: count }, (_, i) => {
    const part = {
      errors: drawBinomial(random, left.errors, 1 / (count - i)),
      slow: drawBinomial(random, left.slow, 1 / (count - i)),
      fast: drawBinomial(random, left.fast, 1 / (count - i)),
    };
    left.errors -= part.errors;
    left.slow -= part.slow;
    left.fast -= part.fast;
    return {
      requests: part.errors + part.slow + part.fast,
      errors: part.errors,
      latencyMs: { bounds: latencyMs.bounds, counts: [part.fast, 0, part.slow, 0] },
    };
  });
}

function isInGap({ gap }: Cell, second: number): boolean {
  return gap !== undefined && second >= gap.fromSecond && second < gap.toSecond;
}
