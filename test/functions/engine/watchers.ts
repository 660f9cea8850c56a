/** Many rollouts at their first step, each on an endpoint of its own, with forty minutes of evidence behind them. */
import { latencyBoundsMs } from '../../../emulator/world/latencies.ts';
import type { Commit } from '../../../functions/engine/ports.ts';
import type { VariantCounts } from '../../../machines/analysis/evidence.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { type EndpointRecord, emptyRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { canaryId, type Life, onFirstStep, policyOf } from '../../machines/rollout/life.ts';

export { canaryId };
export const minuteMs = 60_000;
export const stableId = '1';

const parent = 'projects/demo/locations/us-central1';
const minutes = 40;

/** Nothing is decided by time: the first step is kept for a week, with or without requests. */
export function patientPolicy(checks = '[]'): Policy {
  return policyOf(`
  steps: [ { percent: 10, hold: 168h }, { percent: 100, hold: 1h } ]
  analysis:
    metricLag: 3m
    noData: { after: 168h, then: pause }
    checks: ${checks}
`);
}

const patient = patientPolicy();

export interface Watcher {
  endpoint: string;
  commit: Commit;
}

/** When the last of their evidence could be seen: a whole minute. */
export const watchedUntil = minuteMs * (minutes + 60);

/** The one with this number; numbers that ascend have keys that ascend. */
export function watcher(number: number, { quietMinutes = 0, policy = patient } = {}): Watcher {
  const endpoint = `${parent}/endpoints/${1_000_000 + number}`;
  const life = lifeOf(policy, quietMinutes);
  const context: StoredRollout['context'] = { ...life.rollout.context, id: `delays-2-${number}`, endpoint };
  const record: EndpointRecord = { ...emptyRecord(endpoint), active: { ...life.rollout, context } };
  const commit = { key: endpointKey(endpoint), expected: null, data: record, isActive: true };
  return { endpoint, commit: { ...commit, journal: [], marks: [], archive: [] } };
}

/** A minute of one variant, as Monitoring tells it, all its latencies in one of eighty buckets. */
export function aMinuteOf(requests: number): VariantCounts {
  const bounds = [...latencyBoundsMs];
  const counts = bounds.map((_, i) => (i === 20 ? requests : 0));
  return { requests, errors: 0, latencyMs: { bounds, counts: [...counts, 0] } };
}

const lives = new Map<string, Life>();

/** Lives are long to live and alike, so each is lived once. */
function lifeOf(policy: Policy, quietMinutes: number): Life {
  const key = JSON.stringify([policy, quietMinutes]);
  const known = lives.get(key);
  if (known !== undefined) return known;
  let life = onFirstStep(policy);
  const lag = policy.analysis.metricLagSeconds * 1000;
  const from = Math.ceil(life.at / minuteMs) * minuteMs + minuteMs;
  life = life.after((watchedUntil - life.at) / 1000);
  const until = watchedUntil - lag - quietMinutes * minuteMs;
  for (let toAt = Math.max(from, until - minutes * minuteMs) + minuteMs; toAt <= until; toAt += minuteMs) {
    const window = { fromAt: toAt - minuteMs, toAt };
    const variants = { [canaryId]: aMinuteOf(20), [stableId]: aMinuteOf(180) };
    life = life.when({ type: 'evidence.observed', evidence: { source: 'monitoring', window, variants } });
  }
  if (life.place !== 'forward.analysing.watching') throw new Error(`Expected a watcher, got ${life.place}`);
  lives.set(key, life);
  return life;
}
