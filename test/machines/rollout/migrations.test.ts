import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { migratedRecord, migratedRollout } from '../../../machines/rollout/migrations.ts';

const loose = z.record(z.string(), z.unknown());
const storedSchema = z.looseObject({
  context: z.looseObject({
    policy: z.looseObject({ analysis: loose }),
    tally: z.looseObject({ monitoring: loose, proxy: loose }),
  }),
});
const file = new URL('./snapshots/schema-1.json', import.meta.url);
const stored = storedSchema.parse(JSON.parse(readFileSync(file, 'utf8')));

/** What version 1 stored, with other checks in its policy or other counts in its tally. */
function first({ analysis = {}, monitoring = {} }: { analysis?: object; monitoring?: object }) {
  const { policy, tally } = stored.context;
  const context = {
    ...stored.context,
    policy: { ...policy, analysis: { ...policy.analysis, ...analysis } },
    tally: { ...tally, monitoring: { ...tally.monitoring, ...monitoring } },
  };
  return { ...stored, context };
}

const hits = { some: 'counts' };

describe('what version 1 stored', () => {
  it.each([
    ['both', { latency: { maxRatio: 2 }, drift: { maxDistance: 0.3 } }],
    ['latency', { latency: { maxRatio: 2 }, drift: null }],
    ['drift', { latency: null, drift: { maxDistance: 0.3 } }],
    ['neither', { latency: null, drift: null }],
  ])('goes on to act on the checks that it had beside errors: %s', (_which, { latency, drift }) => {
    const { context } = storedSchema.parse(migratedRollout(first({ analysis: { latency, drift } })));
    expect(context.policy.analysis).toMatchObject({
      errorRate: { maxRatio: 0.05, marginRatio: 0.005, dryRun: false },
      latency: latency && { maxRatio: 2, dryRun: false },
      drift: drift && { maxDistance: 0.3, dryRun: false },
      checks: [],
    });
  });

  it.each([
    ['was known', 120, { latency: { hits, above: 120, latest: null } }],
    ['was not known yet', null, {}],
  ])('keeps its counts where stable’s latency %s', (_when, slowAboveMs, latency) => {
    const counted = first({ monitoring: { errors: hits, slow: hits, slowAboveMs } });
    const { context } = storedSchema.parse(migratedRollout(counted));
    expect(context.tally.monitoring['checks']).toEqual({
      errorRate: { hits, above: null, latest: null },
      ...latency,
    });
    expect(context.tally.monitoring).not.toHaveProperty('slow');
  });

  it('is migrated inside of a record, active and queued', () => {
    const queued = { policy: stored.context.policy };
    expect(migratedRecord({ schema: 1, active: stored, queued })).toMatchObject({
      schema: 2,
      active: { schema: 2 },
      queued: { policy: { analysis: { checks: [] } } },
    });
    expect(migratedRecord({ schema: 1, active: null, queued: null })).toEqual({
      schema: 2,
      active: null,
      queued: null,
    });
  });
});

describe('what is no earlier form of ours', () => {
  it.each([
    ['nothing', null],
    ['a text', 'schema'],
    ['a number', 1],
    ['a list', [1]],
    ['an object', {}],
    ['today’s form', { schema: 2, active: null }],
    ['a newer form', { schema: 3 }],
    ['a damaged earlier form', { schema: 1, active: 'gone' }],
    ['an earlier form under another number', { ...stored, schema: 2 }],
  ])('is handed on as it is: %s', (_what, data) => {
    expect(migratedRollout(data)).toBe(data);
    expect(migratedRecord(data)).toBe(data);
  });
});
