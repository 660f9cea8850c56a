/**
 * How does what an earlier version stored become what this one understands? One step per schema number, each from the one
 * before. What is no earlier form of ours is handed on as it is, for the schema to refuse with its reasons.
 */
import { z } from 'zod';

const acting = <T extends object>(check: T) => ({ ...check, dryRun: false });

/** From 1 to 2: checks of one shape in place of errors and latency by name. */
const policy1 = z
  .looseObject({
    analysis: z.looseObject({
      errorRate: z.looseObject({}),
      latency: z.looseObject({}).nullable(),
      drift: z.looseObject({}).nullable(),
    }),
  })
  .transform(({ analysis, ...rest }) => {
    const { errorRate, latency, drift } = analysis;
    const checks = {
      errorRate: acting(errorRate),
      latency: latency === null ? null : acting(latency),
      drift: drift === null ? null : acting(drift),
      checks: [],
    };
    return { ...rest, analysis: { ...analysis, ...checks } };
  });

const tally1 = z
  .looseObject({ errors: z.unknown(), slow: z.unknown(), slowAboveMs: z.number().nullable() })
  .transform(({ errors, slow, slowAboveMs, ...rest }) => {
    const errorRate = { hits: errors, above: null, latest: null };
    const latency = slowAboveMs === null ? {} : { latency: { hits: slow, above: slowAboveMs, latest: null } };
    return { ...rest, checks: { errorRate, ...latency } };
  });

const rollout1 = z
  .looseObject({
    schema: z.literal(1),
    context: z.looseObject({ policy: policy1, tally: z.looseObject({ monitoring: tally1, proxy: tally1 }) }),
  })
  .transform((rollout) => ({ ...rollout, schema: 2 }));

const record1 = z
  .looseObject({
    schema: z.literal(1),
    active: rollout1.nullable(),
    queued: z.looseObject({ policy: policy1 }).nullable(),
  })
  .transform((record) => ({ ...record, schema: 2 }));

/** A stored rollout in today's form, if it is one of an earlier schema. */
export function migratedRollout(stored: unknown): unknown {
  return migrated(stored, rollout1);
}

/** An endpoint's stored record in today's form, if it is one of an earlier schema. */
export function migratedRecord(stored: unknown): unknown {
  return migrated(stored, record1);
}

/** Nearly all that is stored is of today: to try it as an earlier form first would cost as much as to read it. */
function migrated(stored: unknown, earlier: z.ZodType): unknown {
  const isEarlier = typeof stored === 'object' && stored !== null && 'schema' in stored && stored.schema === 1;
  return isEarlier ? (earlier.safeParse(stored).data ?? stored) : stored;
}
