/** What may have been seen? Evidence that makes the verdict which its label names, in one window. */
import type { Evidence, VariantCounts } from '../../machines/analysis/evidence.ts';
import type { VerdictKind } from '../../machines/analysis/verdict.ts';
import type { Context } from '../../machines/rollout/context.ts';
import { currentStep } from '../../machines/rollout/moment.ts';
import { canaryId } from '../machines/rollout/life.ts';

export interface Sight {
  label: string;
  evidence: Evidence;
  /** Monitoring's verdict after it, while a share is in effect. */
  makes: VerdictKind | null;
}

const requests = 1_000_000;

/** Stable is seen beside the canary as its share says; at 100 % too, but for one that shows the canary alone. */
export function sights(context: Context, fromAt: number, toAt: number): Sight[] {
  const percent = currentStep(context)?.percent ?? 0;
  const canary = percent === 0 ? 0 : (requests * percent) / 100;
  const stable = percent === 100 ? requests : requests - canary;
  const isAlone = context.stableModels.length === 0;
  const of = (
    label: string,
    makes: VerdictKind | null,
    source: string,
    [mine, errors]: [number, number],
    [theirs, others]: [number, number] = [stable, stable / 1000],
    beganAt = fromAt,
  ): Sight => ({
    label,
    // With nobody to compare with, one window is not enough for a verdict.
    makes: isAlone ? null : makes,
    evidence: seen(source, beganAt, toAt, { [canaryId]: [mine, errors], 1: [theirs, others] }),
  });
  return [
    of('healthy', 'healthy', 'monitoring', [canary, canary / 1000]),
    of('unhealthy', 'unhealthy', 'monitoring', [canary, canary / 2]),
    of('few', 'inconclusive', 'monitoring', [5, 0]),
    of('no data', 'noData', 'monitoring', [0, 0]),
    of('failing like stable', 'inconclusive', 'monitoring', [canary, canary / 2], [stable, stable / 2]),
    of('failing alone', null, 'monitoring', [canary, canary / 10], [0, 0]),
    of('from before', null, 'monitoring', [canary, 0], [stable, 0], fromAt - 60_000),
    of('proxy, healthy', null, 'proxy a', [canary, canary / 1000]),
    of('proxy, unhealthy', null, 'proxy a', [canary, canary / 2]),
  ];
}

/** By DeployedModel: requests and errors among them. */
export function seen(source: string, fromAt: number, toAt: number, counts: Record<string, [number, number]>): Evidence {
  const variants = Object.entries(counts).map(([id, [all, errors]]): [string, VariantCounts] => [
    id,
    { requests: all, errors, latencyMs: { bounds: [10, 100, 1000], counts: [all, 0, 0, 0] } },
  ]);
  return { source, window: { fromAt, toAt }, variants: Object.fromEntries(variants) };
}
