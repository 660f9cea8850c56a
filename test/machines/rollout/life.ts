/** How does a test tell a rollout's life? `given(events).when(event).then(…)`, with short names for long facts. */
import type { VariantCounts } from '../../../machines/analysis/evidence.ts';
import { parsePolicy } from '../../../machines/policy/document.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { placeOf, stateOf } from '../../../machines/rollout/describe.ts';
import { type Effect, effectsOf, type Look, looksOf } from '../../../machines/rollout/effects.ts';
import type { ObservedModel, RolloutEvent } from '../../../machines/rollout/events.ts';
import { startRollout, stepRollout, type StoredRollout } from '../../../machines/rollout/snapshot.ts';
import type { Split } from '../../../machines/rollout/split.ts';

export const endpoint = 'projects/demo/locations/us-central1/endpoints/1';
export const model = 'projects/demo/locations/us-central1/models/delays';
export const canaryId = '77';

/** A policy with seconds for minutes: steps 5, 25, 100, ten seconds each, two of lag. */
export function policyOf(spec = ''): Policy {
  const result = parsePolicy(`
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: { model: ${model} }
  endpoint: ${endpoint}
${spec.includes('steps:') ? '' : '  steps: [ { percent: 5, hold: 10s }, { percent: 25, hold: 10s }, { percent: 100, hold: 10s } ]\n'}${
  spec.includes('analysis:')
    ? ''
    : `  analysis: { metricLag: 2s, minRequests: 10, inconclusive: { after: 60s, then: pause }, noData: { after: 30s, then: pause } }\n`
}${spec.includes('keepStable:') ? '' : '  keepStable: 20s\n'}${spec}`);
  if (result.kind === 'invalid') throw new Error(JSON.stringify(result.problems));
  return result.policy;
}

export const stableModel: ObservedModel = { id: '1', model, versionId: '1', minReplicas: 1, availableReplicas: 1 };
export const canaryModel: ObservedModel = { id: canaryId, model, versionId: '2', minReplicas: 1, availableReplicas: 1 };

export const good: VariantCounts = {
  requests: 5000,
  errors: 0,
  latencyMs: { bounds: [10, 100, 1000], counts: [4500, 500, 0, 0] },
};
export const bad: VariantCounts = {
  requests: 5000,
  errors: 3000,
  latencyMs: { bounds: [10, 100, 1000], counts: [4500, 500, 0, 0] },
};

type Undated = RolloutEvent extends infer Event ? (Event extends { at: number } ? Omit<Event, 'at'> : never) : never;

export interface Life {
  readonly rollout: StoredRollout;
  readonly at: number;
  readonly state: string;
  readonly place: string;
  readonly desired: Split;
  /** What happens now. */
  when(...events: Undated[]): Life;
  /** Time passes, then a tick. */
  after(seconds: number): Life;
  /** The traffic that is desired is confirmed. */
  applied(): Life;
  /** Monitoring shows these counts from where it was read last to now minus the lag. */
  monitored(canary: VariantCounts, stable?: VariantCounts): Life;
  reported(canary: VariantCounts, stable?: VariantCounts): Life;
  effects(): Effect[];
  looks(): Look[];
}

/** A rollout of version 2 over version 1 that has just begun, at second 1000. */
export function given(policy: Policy = policyOf()): Life {
  const at = 1_000_000;
  const blessing = { eventId: 'e', model, versionId: '2', blessedAt: at, by: null };
  return life(startRollout({ id: 'delays-2', endpoint, canaryId, blessing, policy, at }), at);
}

export function deployedCanary(policy?: Policy, split: Split = { 1: 100 }): Life {
  return given(policy)
    .when({ type: 'endpoint.observed', split, models: [stableModel] })
    .when({ type: 'deploy.started', operation: 'deploy-op' })
    .when({ type: 'operation.finished', operation: 'deploy-op', error: null });
}

/** The canary is ready, and the first step's share is desired. */
export function shiftingToFirstStep(policy?: Policy): Life {
  return deployedCanary(policy).when({
    type: 'endpoint.observed',
    split: { 1: 100 },
    models: [stableModel, canaryModel],
  });
}

/** The first step is in effect. */
export function onFirstStep(policy?: Policy): Life {
  return shiftingToFirstStep(policy).applied();
}

/** 100 % is in effect; stable is still deployed. */
export function onLastStep(policy?: Policy): Life {
  let it = onFirstStep(policy);
  for (let i = 0; i < 20 && it.state !== 'observing'; i += 1) it = it.after(12).monitored(good).after(0).applied();
  return it;
}

const pieces = 8;

function scaled({ requests, errors, latencyMs }: VariantCounts, factor: number): VariantCounts {
  const counts = latencyMs.counts.map((count) => Math.round(count * factor));
  return {
    requests: Math.round(requests * factor),
    errors: Math.round(errors * factor),
    latencyMs: { ...latencyMs, counts },
  };
}

function life(rollout: StoredRollout, at: number): Life {
  const windows = (source: string, canary: VariantCounts, stable: VariantCounts | undefined): Undated[] => {
    const { effectAt, covered } = rollout.context.tally;
    const fromAt = covered[source]?.toAt ?? effectAt ?? at;
    const toAt = source === 'monitoring' ? at - rollout.context.policy.analysis.metricLagSeconds * 1000 : at;
    const share = rollout.context.traffic.confirmed?.[canaryId] ?? 5;
    const other = stable ?? scaled(good, ((100 - share) / share) * (canary.requests / good.requests));
    // Cut into windows, as it comes: what happens in one window alone may be a burst.
    return Array.from({ length: pieces }, (_, i) => ({
      type: 'evidence.observed' as const,
      evidence: {
        source,
        window: {
          fromAt: fromAt + ((toAt - fromAt) * i) / pieces,
          toAt: fromAt + ((toAt - fromAt) * (i + 1)) / pieces,
        },
        variants: { [canaryId]: scaled(canary, 1 / pieces), 1: scaled(other, 1 / pieces) },
      },
    }));
  };
  const self: Life = {
    rollout,
    at,
    state: stateOf(rollout),
    place: placeOf(rollout),
    desired: rollout.context.traffic.desired,
    when: (...events) => {
      let next = rollout;
      for (const event of events) next = stepRollout(next, { ...event, at });
      return life(next, at);
    },
    after: (seconds) => life(rollout, at + seconds * 1000).when({ type: 'clock.ticked' }),
    applied: () =>
      self.when({ type: 'traffic.applied', split: self.desired, generation: rollout.context.traffic.generation }),
    monitored: (canary, stable) => self.when(...windows('monitoring', canary, stable)),
    reported: (canary, stable) => self.when(...windows('proxy a', canary, stable)),
    effects: () => effectsOf(rollout, at),
    looks: () => looksOf(rollout, at, 1000),
  };
  return self;
}
