/** What do the rollouts look like? Reads from the dashboard's API, parsed once, each with a deadline. */
import { z } from 'zod';
import { verdictSchema } from '../machines/analysis/verdict.ts';
import { type JournalView, type RolloutView, rolloutStates } from '../machines/rollout/view.ts';
import { parseJson, type System } from './system.ts';
import { CliError } from './world.ts';

const DEADLINE_MS = 10_000;

const variantSchema = z.object({
  role: z.enum(['canary', 'stable']),
  deployedModelId: z.string(),
  model: z.string(),
  versionId: z.string(),
  intendedPercent: z.number(),
  observedPercent: z.number().nullable(),
  requests: z.number(),
  errors: z.number(),
  latencyMs: z.number().nullable(),
});

const rolloutSchema: z.ZodType<RolloutView> = z.object({
  id: z.string(),
  endpoint: z.string(),
  model: z.string(),
  versionId: z.string(),
  policy: z.string(),
  state: z.enum(rolloutStates),
  isFinal: z.boolean(),
  paused: z.object({ at: z.number(), by: z.string(), reason: z.string() }).nullable(),
  stepIndex: z.number().nullable(),
  steps: z.array(z.object({ percent: z.number(), holdSeconds: z.number(), approval: z.boolean() })),
  percent: z.number(),
  variants: z.array(variantSchema),
  verdicts: z.array(verdictSchema),
  reason: z.string(),
  by: z.string().nullable(),
  next: z.object({ at: z.number(), what: z.string() }).nullable(),
  startedAt: z.number(),
  updatedAt: z.number(),
  endedAt: z.number().nullable(),
});

const journalSchema: z.ZodType<{ entries: JournalView[] }> = z.object({
  entries: z.array(
    z.object({
      at: z.number(),
      event: z.string(),
      by: z.string().nullable(),
      from: z.string(),
      to: z.string(),
      text: z.string(),
      detail: z.unknown(),
    }),
  ),
});

const listSchema = z.object({ rollouts: z.array(rolloutSchema) });

/** Google's JSON form of an error. */
const errorSchema = z.object({ error: z.object({ message: z.string() }) });

export interface Api {
  list(): Promise<RolloutView[]>;
  /** Null when there is no such rollout. */
  find(id: string): Promise<RolloutView | null>;
  /** Null when there is no such rollout. */
  journal(id: string): Promise<JournalView[] | null>;
}

/**
 * The dashboard's API of a system. Every method throws a CliError that says what was got instead, and what to do.
 * @param deadlineMs how long one answer may take
 */
export function dashboardApi(system: System, deadlineMs = DEADLINE_MS): Api {
  const base = baseOf(system);
  const read = async <T>(path: string, schema: z.ZodType<T>): Promise<T | null> => {
    const url = `${base}/api/rollouts${path}`;
    const { status, text } = await request(system, url, deadlineMs);
    const body = parseJson(text);
    if (status === 404 && path !== '') return null;
    if (status !== 200) throw refusal(url, status, body);
    return parseAnswer(url, body, schema);
  };
  return {
    list: async () => (await read('', listSchema))?.rollouts ?? [],
    find: (id) => read(`/${encodeURIComponent(id)}`, rolloutSchema),
    journal: async (id) => (await read(`/${encodeURIComponent(id)}/journal`, journalSchema))?.entries ?? null,
  };
}

/** What to say when there is no such rollout. */
export function noSuchRollout(id: string): CliError {
  return new CliError(
    `Expected the id of a rollout, got "${id}", which the dashboard does not know; see: rollouts list`,
  );
}

function baseOf({ api, advice }: System): string {
  if (api !== null) return api;
  throw new CliError(`Expected to know the dashboard, got no address: ${advice}`);
}

function parseAnswer<T>(url: string, body: unknown, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.join('.') || 'the answer';
  throw new CliError(
    `Expected the dashboard's JSON from ${url}, got something else (${where}); is this the dashboard, and of the same version?`,
  );
}

async function request(system: System, url: string, deadlineMs: number): Promise<{ status: number; text: string }> {
  const headers = { accept: 'application/json', ...(system.token && { authorization: `Bearer ${system.token}` }) };
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(deadlineMs), redirect: 'error' });
    return { status: response.status, text: await response.text() };
  } catch (error) {
    const isLate = error instanceof Error && error.name === 'TimeoutError';
    const got = isLate ? `no answer within ${deadlineMs / 1000} s` : `no connection (${causeOf(error)})`;
    throw new CliError(`Expected the dashboard at ${system.api}, got ${got}; ${system.advice}`, { isTransient: true });
  }
}

function refusal(url: string, status: number, body: unknown): CliError {
  const parsed = errorSchema.safeParse(body);
  const said = parsed.success ? parsed.data.error.message : `HTTP ${status}`;
  if (status === 401 || status === 403) {
    const advice = 'set ROLLOUTS_TOKEN to an identity token: export ROLLOUTS_TOKEN=$(gcloud auth print-identity-token)';
    return new CliError(`Expected to be let in at ${url}, got ${status}: ${said}; ${advice}`);
  }
  return new CliError(`Expected an answer from ${url}, got ${status}: ${said}`, { isTransient: status >= 500 });
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const { cause } = error;
  if (cause instanceof Error) return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
  return error.message;
}
