/** What may arrive? The shapes of incoming messages, parsed once. The same keys are accepted as attributes. */
import { z } from 'zod';
import { histogramSchema, noHistogram } from '../../machines/analysis/evidence.ts';
import { parseEndpointName, parseModelName } from '../../machines/rollout/resource-name.ts';
import { limits } from './limits.ts';

const text = z.string().min(1).max(1000);
const endpointName = text.refine(
  (name) => parseEndpointName(name) !== null,
  'expected projects/P/locations/L/endpoints/E',
);
const modelName = text.refine((name) => parseModelName(name) !== null, 'expected projects/P/locations/L/models/M');
const instant = z.iso.datetime({ offset: true }).transform((value) => Date.parse(value));

export const blessingMessageSchema = z
  .object({
    eventId: text.optional(),
    model: modelName,
    versionId: z
      .union([z.string(), z.int()], 'expected a version id, which is a decimal number such as "7"')
      .transform(String)
      .refine((id) => /^\d{1,19}$/.test(id), 'expected a version id, which is a decimal number such as "7"')
      .optional(),
    endpoint: endpointName.optional(),
    policy: text.optional(),
    by: text.optional(),
    blessedAt: instant.optional(),
  })
  .transform((message) => ({ ...message, versionId: message.versionId ?? /@(\d+)$/.exec(message.model)?.[1] }))
  .refine((message) => message.versionId !== undefined, {
    path: ['versionId'],
    message: 'is required: the version that was blessed',
  });

export const commandNames = ['pause', 'resume', 'abort', 'promote', 'promote-full', 'approve', 'retry'] as const;

export const commandMessageSchema = z
  .object({
    command: z.enum(commandNames),
    endpoint: endpointName.optional(),
    rollout: text.optional(),
    reason: z.string().max(1000).optional(),
    by: text.optional(),
    commandId: text.optional(),
  })
  .refine(
    ({ endpoint, rollout }) => endpoint !== undefined || rollout !== undefined,
    'name an "endpoint" or a "rollout"',
  );

const wholeNumbers = 'expected whole numbers: the tests count requests one by one, and a weight or an average is none';
const tooMany = `expected at most ${limits.countMax}: no endpoint serves as many in one window`;
const count = z.number().min(0).max(limits.countMax, tooMany).refine(Number.isInteger, wholeNumbers);
const histogram = histogramSchema
  .refine(({ counts }) => counts.every(Number.isInteger), wholeNumbers)
  .refine(({ counts }) => counts.every((value) => value <= limits.countMax), tooMany);

/** A latest value has no place here: of two reporters, nobody knows whose is right. */
const signal = z.union(
  [
    histogram,
    z
      .strictObject({ hits: count, trials: count })
      .refine(({ hits, trials }) => hits <= trials, 'hits cannot exceed trials'),
  ],
  'expected { hits, trials } or { bounds, counts }',
);

const variant = z
  .object({
    requests: count.optional(),
    errors: count.optional(),
    latencyMs: histogram.optional(),
    predictions: histogram.optional(),
    signals: z.record(z.string().max(64), signal).optional(),
  })
  .refine(({ requests, errors, latencyMs, signals }) => {
    const given = [requests, errors, latencyMs].filter((part) => part !== undefined).length;
    return given === 3 || (given === 0 && signals !== undefined);
  }, 'expected "requests", "errors" and "latencyMs", all three, or "signals" without them')
  .transform(({ requests = 0, errors = 0, latencyMs = noHistogram, ...rest }) => ({
    requests,
    errors,
    latencyMs,
    ...rest,
  }))
  .refine(({ requests, errors }) => errors <= requests, 'errors cannot exceed requests');

export const evidenceMessageSchema = z.object({
  endpoint: endpointName,
  window: z.object({ from: instant, to: instant }).refine(({ from, to }) => to > from, 'must end after it begins'),
  source: z
    .string()
    .min(1)
    .max(200)
    .refine((source) => source !== 'monitoring', '"monitoring" is reserved'),
  variants: z.record(z.string().max(64), variant),
});

/** What is only shown is cut, not refused: it goes into the record and into every notification. */
const sentence = z.string().transform((words) => words.slice(0, 1000));

/** A Cloud Monitoring notification, version 1.2; read leniently, for Google adds fields. */
export const incidentMessageSchema = z.object({
  incident: z.object({
    incident_id: text,
    state: z.string(),
    summary: sentence.nullish(),
    policy_name: sentence.nullish(),
    resource: z.object({ labels: z.record(z.string(), z.string()).nullish() }).nullish(),
  }),
});

export const tickMessageSchema = z.object({
  kind: z.enum(['tick', 'reconcile']),
  /** The key of a record: what comes after it is still to be done. An instance says so to the next. */
  after: z
    .string()
    .max(200)
    .regex(/^[a-z0-9-]+~[A-Za-z0-9-]+$/, 'expected the key of an endpoint, such as us-central1~456')
    .optional(),
});

/** The part of an audit LogEntry that tells of a blessing. All of it may be missing. */
export const logEntrySchema = z.object({
  insertId: text,
  timestamp: instant.optional(),
  operation: z.object({ first: z.boolean().optional(), last: z.boolean().optional() }).optional(),
  protoPayload: z.object({
    methodName: z.string(),
    resourceName: z.string().optional(),
    authenticationInfo: z.object({ principalEmail: z.string().optional() }).optional(),
    status: z.object({ code: z.number().optional(), message: z.string().optional() }).optional(),
    request: z.record(z.string(), z.unknown()).optional(),
    response: z.record(z.string(), z.unknown()).optional(),
  }),
});

export type BlessingMessage = z.infer<typeof blessingMessageSchema>;
export type CommandMessage = z.infer<typeof commandMessageSchema>;
export type EvidenceMessage = z.infer<typeof evidenceMessageSchema>;
export type IncidentMessage = z.infer<typeof incidentMessageSchema>;
export type LogEntry = z.infer<typeof logEntrySchema>;

/** What became of a message: done, set aside without harm, or not acceptable, with a sentence that says why. */
export type Outcome =
  | { kind: 'done'; text: string }
  | { kind: 'ignored'; text: string }
  | { kind: 'rejected'; text: string };
