/** A rollout and its journal, as the dashboard is given them. */
import type { JournalView, RolloutView } from '../../../machines/rollout/view.ts';

export const rollout: RolloutView = {
  id: 'us-central1~456~7',
  endpoint: 'projects/demo/locations/us-central1/endpoints/456',
  model: 'projects/demo/locations/us-central1/models/delays',
  versionId: '7',
  policy: 'delays',
  state: 'awaitingApproval',
  isFinal: false,
  paused: { at: 1_000, by: 'ana', reason: 'holiday' },
  stepIndex: 0,
  steps: [
    { percent: 5, holdSeconds: 600, approval: true },
    { percent: 100, holdSeconds: 1800, approval: false },
  ],
  percent: 5,
  variants: [
    {
      role: 'canary',
      deployedModelId: '7000000001',
      model: 'projects/demo/locations/us-central1/models/delays',
      versionId: '7',
      intendedPercent: 5,
      observedPercent: 4.8,
      requests: 1234,
      errors: 5,
      latencyMs: 48.2,
    },
  ],
  verdicts: [
    {
      kind: 'unhealthy',
      source: 'proxy',
      at: 2_000,
      fromAt: 0,
      toAt: 1_000,
      reasons: [{ check: 'errorRate', kind: 'unhealthy', text: '20 % of 310 requests failed.', numbers: {} }],
    },
  ],
  reason: 'Step 1 of 2 waits for approval.',
  by: 'ci@example.com',
  next: { at: 9_000, what: 'the wait for answers ends' },
  startedAt: 500,
  updatedAt: 2_000,
  endedAt: null,
};

export const journal: JournalView[] = [
  {
    at: 500,
    event: 'blessing.received',
    by: 'ci@example.com',
    from: 'queued',
    to: 'preparing',
    text: 'Version 7 was blessed.',
    detail: { insertId: 'abc' },
  },
];

/** The same shape, with a hostile text wherever a text may be. */
export function poisoned(value: unknown, poison: string, keep: ReadonlySet<string>): unknown {
  const walk = (each: unknown, key: string): unknown => {
    if (typeof each === 'string') return keep.has(key) ? each : `${poison}${each}`;
    if (Array.isArray(each)) return each.map((item) => walk(item, key));
    if (typeof each !== 'object' || each === null) return each;
    return Object.fromEntries(Object.entries(each).map(([name, item]) => [name, walk(item, name)]));
  };
  return walk(value, '');
}
