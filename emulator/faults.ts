/** Which calls fail on purpose, and how many calls were there? Rules that run before every call. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { type BeforeCall, StatusError, status } from './grpc.ts';
import type { Conditions } from './world/world.ts';

const codeNames = [
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;

const callRuleSchema = z
  .strictObject({
    /** `google.x.Service/Method`; `*` stands for anything. */
    method: z.string().min(1),
    /** Such as UNAVAILABLE; absent: the call goes through. */
    code: z.enum(codeNames).optional(),
    message: z.string().optional(),
    /** The work is done, and the reply is lost. */
    afterWork: z.boolean().default(false),
    /** Real milliseconds before the call. */
    latencyMs: z.number().min(0).max(600_000).default(0),
    /** The rule ends after so many calls; absent: never. */
    times: z.int().min(1).optional(),
  })
  .refine((rule) => !rule.afterWork || rule.code !== undefined, 'afterWork needs the code of the lost reply');
const gapRuleSchema = z.strictObject({
  /** Milliseconds since the epoch; `true`: everything. */
  metricGap: z.union([z.boolean(), z.strictObject({ fromMs: z.number(), toMs: z.number() })]),
});
const stuckRuleSchema = z.strictObject({ stuckOperations: z.boolean() });
const rulesSchema = z.array(z.union([callRuleSchema, gapRuleSchema, stuckRuleSchema]));

type CallRule = z.infer<typeof callRuleSchema>;

/** Seconds for which calls are remembered one by one. */
const secondsMax = 3_600;

export interface CallCounts {
  /** Milliseconds since the epoch. */
  sinceAt: number;
  total: number;
  methods: Record<string, { count: number; seconds: { at: number; count: number }[] }>;
}

export interface Faults {
  /** Before a gRPC call: counts it, then applies the rules. */
  beforeCall: BeforeCall;
  /** Before a prediction over HTTP: applies the rules only. */
  beforePrediction: BeforeCall;
  /** Adds rules; throws a ZodError for what is no list of rules. The conditions that it names replace earlier ones. */
  add(rules: unknown): void;
  list(): unknown[];
  /** Ends all rules and conditions. */
  clear(): void;
  calls(): CallCounts;
  clearCalls(): void;
}

/** Makes an empty set of rules over a world's conditions. */
export function createFaults(conditions: Conditions, now: () => number): Faults {
  let rules: CallRule[] = [];
  let counts: CallCounts = { sinceAt: now(), total: 0, methods: {} };

  /** The first rule that fits is the one that applies. */
  async function apply(method: string): Promise<(() => void) | void> {
    const rule = rules.find((candidate) => globOf(candidate.method).test(method));
    if (rule === undefined) return;
    if (rule.times !== undefined) {
      rule.times -= 1;
      if (rule.times === 0) rules = rules.filter((candidate) => candidate !== rule);
    }
    if (rule.latencyMs > 0) await sleep(rule.latencyMs);
    const { code } = rule;
    if (code === undefined) return;
    const error = new StatusError(status[code], rule.message ?? `Injected fault: ${code} for ${method}.`);
    if (!rule.afterWork) throw error;
    return () => {
      throw error;
    };
  }

  function count(method: string): void {
    const at = Math.floor(now() / 1000) * 1000;
    const entry = (counts.methods[method] ??= { count: 0, seconds: [] });
    entry.count += 1;
    counts.total += 1;
    const last = entry.seconds.at(-1);
    if (last?.at === at) last.count += 1;
    else entry.seconds.push({ at, count: 1 });
    if (entry.seconds.length > secondsMax) entry.seconds.shift();
  }

  return {
    beforeCall: (method) => {
      count(method);
      return apply(method);
    },
    beforePrediction: apply,
    add(input) {
      for (const rule of rulesSchema.parse(input)) {
        if ('method' in rule) rules.push(rule);
        else if ('stuckOperations' in rule) conditions.operationsAreStuck = rule.stuckOperations;
        else conditions.metricGaps = gapsOf(rule.metricGap, conditions.metricGaps);
      }
    },
    list: () => [
      ...rules,
      ...conditions.metricGaps.map(({ fromAt, toAt }) => ({ metricGap: { fromMs: fromAt, toMs: toAt } })),
      ...(conditions.operationsAreStuck ? [{ stuckOperations: true }] : []),
    ],
    clear() {
      rules = [];
      conditions.metricGaps = [];
      conditions.operationsAreStuck = false;
    },
    calls: () => counts,
    clearCalls() {
      counts = { sinceAt: now(), total: 0, methods: {} };
    },
  };
}

function gapsOf(
  gap: boolean | { fromMs: number; toMs: number },
  earlier: Conditions['metricGaps'],
): Conditions['metricGaps'] {
  if (gap === false) return [];
  if (gap === true) return [{ fromAt: 0, toAt: Number.MAX_SAFE_INTEGER }];
  return [...earlier, { fromAt: gap.fromMs, toAt: gap.toMs }];
}

function globOf(pattern: string): RegExp {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`);
}
