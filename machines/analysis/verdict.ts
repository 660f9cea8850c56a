/** Is the canary as good? The answer, always with reasons and the numbers behind them. */
import { z } from 'zod';

export const verdictKinds = ['healthy', 'unhealthy', 'inconclusive', 'noData'] as const;

const reasonSchema = z.strictObject({
  /** Which check spoke: `errorRate`, `latency`, `requests`, … */
  check: z.string(),
  kind: z.enum(verdictKinds),
  /** One sentence for a person, numbers included. */
  text: z.string(),
  /** The numbers of the sentence by name, units in the names; null is "not known", never zero. */
  numbers: z.record(z.string(), z.number().nullable()),
  /** Judged and shown, never acted on. */
  dryRun: z.literal(true).optional(),
});

export const verdictSchema = z.strictObject({
  kind: z.enum(verdictKinds),
  /** `monitoring` or `proxy`: the two are judged apart. */
  source: z.string(),
  /** When it was given, and the evidence it rests on, in milliseconds since the epoch. */
  at: z.number(),
  fromAt: z.number(),
  toAt: z.number(),
  reasons: z.array(reasonSchema),
});

export type VerdictKind = (typeof verdictKinds)[number];
export type Reason = z.infer<typeof reasonSchema>;
export type Verdict = z.infer<typeof verdictSchema>;
