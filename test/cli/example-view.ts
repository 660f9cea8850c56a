/** A rollout on its way: five minutes into its second step of four, healthy so far. */
import type { RolloutView } from '../../machines/rollout/view.ts';

export const NOW = Date.UTC(2026, 10, 20, 12, 0, 0);

export function exampleView(changes: Partial<RolloutView> = {}): RolloutView {
  const model = 'projects/p/locations/us-central1/models/delays';
  return {
    id: 'us-central1~456~1',
    endpoint: 'projects/p/locations/us-central1/endpoints/456',
    model,
    versionId: '3',
    policy: 'delays',
    state: 'analysing',
    isFinal: false,
    paused: null,
    stepIndex: 1,
    steps: [
      { percent: 5, holdSeconds: 600, approval: false },
      { percent: 25, holdSeconds: 600, approval: false },
      { percent: 50, holdSeconds: 600, approval: true },
      { percent: 100, holdSeconds: 1800, approval: false },
    ],
    percent: 25,
    variants: [
      {
        role: 'canary',
        deployedModelId: '33',
        model,
        versionId: '3',
        intendedPercent: 25,
        observedPercent: 24.62,
        requests: 1204,
        errors: 3,
        latencyMs: 41,
      },
      {
        role: 'stable',
        deployedModelId: '22',
        model,
        versionId: '2',
        intendedPercent: 75,
        observedPercent: 75.38,
        requests: 3687,
        errors: 0,
        latencyMs: null,
      },
    ],
    verdicts: [
      {
        kind: 'healthy',
        source: 'monitoring',
        at: NOW,
        fromAt: NOW - 300_000,
        toAt: NOW - 180_000,
        reasons: [
          { check: 'errorRate', kind: 'healthy', text: 'errors 0.25% against 0% of stable, margin 0.5%', numbers: {} },
        ],
      },
    ],
    reason: 'The evidence is healthy; the hold goes on.',
    by: 'anna',
    next: { at: NOW + 250_000, what: 'the hold of 25% ends' },
    startedAt: NOW - 1_500_000,
    updatedAt: NOW - 20_000,
    endedAt: null,
    ...changes,
  };
}
