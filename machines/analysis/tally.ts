/**
 * What has been seen so far? Folds evidence into counts for people and running tests for the verdict, one of each per
 * source, constant in time and memory per window. A window counts once, however often it arrives, and only if it lies
 * wholly after the step took effect.
 */
import { z } from 'zod';
import { nth } from '../nth.ts';
import type { AnalysisPolicy } from '../policy/policy.ts';
import { countSchema, hasOutage, recentMax } from './baseline.ts';
import { allowanceOf, type Check, checksOf, countOf, isBet, latestOf, partOf, valuesOf } from './checks.ts';
import type { Count } from './evalue.ts';
import {
  addCounts,
  countIn,
  type Evidence,
  type EvidenceWindow,
  greatestIn,
  noCounts,
  quantileMs,
  UNATTRIBUTED,
  type VariantCounts,
  variantCountsSchema,
} from './evidence.ts';
import { addPast, addWindow, addWindows, hitTestSchema, noHitTest, type Told, worseLog } from './hit-test.ts';

const coveredSchema = z.strictObject({
  /** From the beginning of the earliest window to the end of the latest. */
  fromAt: z.number(),
  toAt: z.number(),
  /** Where the latest windows began, ascending: a window is known by its beginning. */
  starts: z.array(z.number()),
});

const countsSchema = z.strictObject({ canary: variantCountsSchema, stable: variantCountsSchema });

/** What one check has come to since the rollout began. */
const runningSchema = z.strictObject({
  /** Are hits more frequent at the canary than the policy allows? */
  hits: hitTestSchema,
  /** What counts as a hit, for a quantile: the policy's multiple of stable's, as it was when first known. */
  above: z.number().nullable(),
  /** The canary's latest value, for a limit, and the end of the window that it came in. */
  latest: z.strictObject({ value: z.number(), toAt: z.number() }).nullable(),
});

const tallySchema = z.strictObject({
  /** Since the current step took effect. */
  step: countsSchema,
  /** Since the rollout began, and stable's past before it; the comparison when stable no longer takes traffic. */
  rollout: countsSchema,
  /** Answers that named no variant, since the current step took effect. */
  unattributed: variantCountsSchema,
  /** Windows with requests since the current step took effect, and how long they were together. */
  windows: z.int().min(0),
  seenMs: z.number().min(0),
  /** By the check's name; absent until it had its first numbers. */
  checks: z.record(z.string(), runningSchema),
  /** How much of what a minute may prove the acting checks have used up, in nats. */
  spent: z.number().min(0).default(0),
  /** The canary's errors in the latest windows, newest last. */
  recent: z.array(countSchema),
});

export const tallyStateSchema = z.strictObject({
  /** When the current share took effect: nothing that began earlier counts. Null before the first step. */
  effectAt: z.number().nullable(),
  monitoring: tallySchema,
  proxy: tallySchema,
  /** What was already counted, per source. */
  covered: z.record(z.string(), coveredSchema),
  /** The latest beginning of a window of a proxy that was forgotten: what a proxy has from before may be a copy. */
  forgottenAt: z.number().nullable().default(null),
});

export type Counts = z.infer<typeof countsSchema>;
export type Running = z.infer<typeof runningSchema>;
export type Tally = z.infer<typeof tallySchema>;
export type TallyState = z.infer<typeof tallyStateSchema>;
type Covered = z.infer<typeof coveredSchema>;
export type Source = 'monitoring' | 'proxy';

/** Who is who among the evidence's DeployedModel ids. Ids that are neither are somebody else's and do not count. */
export interface Roles {
  canaryId: string;
  stableIds: string[];
}

const noPair: Counts = { canary: noCounts, stable: noCounts };
const noTally: Tally = {
  step: noPair,
  rollout: noPair,
  unattributed: noCounts,
  windows: 0,
  seenMs: 0,
  checks: {},
  spent: 0,
  recent: [],
};
const notRunning: Running = { hits: noHitTest, above: null, latest: null };

export const emptyTally: TallyState = {
  effectAt: null,
  monitoring: noTally,
  proxy: noTally,
  covered: {},
  forgottenAt: null,
};

/** Starts a step: the step's counts begin anew, the rollout's and the tests stay. */
export function beginStep(state: TallyState, effectAt: number): TallyState {
  const [monitoring, proxy] = [withoutStep(state.monitoring), withoutStep(state.proxy)];
  return { effectAt, monitoring, proxy, covered: {}, forgottenAt: null };
}

function withoutStep(tally: Tally): Tally {
  const checks = Object.fromEntries(
    Object.entries(tally.checks).map(([name, one]) => [name, { ...one, latest: null }]),
  );
  return { ...tally, step: noPair, unattributed: noCounts, windows: 0, seenMs: 0, checks };
}

export function sourceOf(evidence: Evidence): Source {
  return isProxy(evidence.source) ? 'proxy' : 'monitoring';
}

/** How much is remembered, so that a copy of a window is known as one. */
export interface Memory {
  /** Windows per source. What began before the oldest of so many cannot be told from a copy, and is not counted. */
  windowsMax: number;
  /** Of all proxies, about: the more there are, the fewer of each. */
  windowsInAllMax: number;
  /** Proxies at once; see `forgottenAt`. */
  sourcesMax: number;
}

const isProxy = (source: string): boolean => source !== 'monitoring';

/** How many windows of a source are remembered. Within a step never more than before, so whatever was let go is too old. */
function windowsOf(source: string, covered: TallyState['covered'], memory: Memory): number {
  if (!isProxy(source)) return memory.windowsMax;
  const proxies = Object.keys(covered).filter(isProxy).length + (Object.hasOwn(covered, source) ? 0 : 1);
  return Math.max(2, Math.min(memory.windowsMax, Math.floor(memory.windowsInAllMax / proxies)));
}

/** Why the evidence must not be counted, as a sentence; null when it must. Before the first share, Monitoring tells of stable. */
export function refusal(state: TallyState, evidence: Evidence, memory: Memory): string | null {
  const { source, window } = evidence;
  if (state.effectAt === null && sourceOf(evidence) === 'proxy') return 'the canary takes no traffic yet';
  if (state.effectAt !== null && window.fromAt < state.effectAt) return 'the window begins before the step took effect';
  if (window.fromAt === window.toAt) return 'the window is empty';
  if (isBeyondCounting(state[sourceOf(evidence)], evidence)) return 'its counts are too large to be added';
  const isForgotten = state.forgottenAt !== null && window.fromAt <= state.forgottenAt;
  if (isForgotten && sourceOf(evidence) === 'proxy') return 'the window is older than what is remembered of proxies';
  const covered = state.covered[source];
  if (covered === undefined) return null;
  if (covered.starts.includes(window.fromAt)) return 'the window was counted before';
  const isFull = covered.starts.length >= windowsOf(source, state.covered, memory);
  const isTooOld = isFull && window.fromAt < nth(covered.starts, 0);
  return isTooOld ? 'the window is too old to be told from a copy' : null;
}

/** Past 2^53 sums are not exact any more, and the record's schema refuses them: the rollout could do nothing else either. */
function isBeyondCounting({ rollout, unattributed }: Tally, { variants }: Evidence): boolean {
  const before = Math.max(...[rollout.canary, rollout.stable, unattributed].map(greatestIn));
  return Object.values(variants).reduce((sum, counts) => sum + greatestIn(counts), before) > Number.MAX_SAFE_INTEGER;
}

/** Adds evidence that refusal() let pass. Before the first share it is stable's past, for both sources alike. */
export function addEvidence(
  state: TallyState,
  evidence: Evidence,
  roles: Roles,
  memory: Memory,
  policy: AnalysisPolicy,
): TallyState {
  const source = sourceOf(evidence);
  const seen: Counts = {
    canary: evidence.variants[roles.canaryId] ?? noCounts,
    stable: roles.stableIds.map((id) => evidence.variants[id] ?? noCounts).reduce(addCounts, noCounts),
  };
  const { window } = evidence;
  const { covered, forgottenAt } = remember(state, evidence, memory);
  if (state.effectAt === null) {
    const { monitoring, proxy } = state;
    const past = { ...monitoring.rollout, stable: addCounts(monitoring.rollout.stable, seen.stable) };
    return {
      ...state,
      monitoring: {
        ...monitoring,
        rollout: past,
        checks: remembered(monitoring, seen.stable, window, policy, ['rate', 'quantile']),
      },
      proxy: { ...proxy, checks: remembered(proxy, seen.stable, window, policy, ['rate']) },
      covered,
      forgottenAt,
    };
  }
  const before = state[source];
  const hasRequests = seen.canary.requests + seen.stable.requests > 0;
  const after: Tally = {
    step: addPair(before.step, seen),
    rollout: addPair(before.rollout, seen),
    unattributed: addCounts(before.unattributed, evidence.variants[UNATTRIBUTED] ?? noCounts),
    windows: before.windows + (hasRequests ? 1 : 0),
    seenMs: before.seenMs + (hasRequests ? window.toAt - window.fromAt : 0),
    ...tested(before, seen, secondsOf(window) / alongside(evidence, covered), { window, policy }),
    recent: hasRequests ? [...before.recent, errorsOf(seen.canary)].slice(-recentMax) : before.recent,
  };
  return { ...state, [source]: after, covered, forgottenAt };
}

/** Where Monitoring is to be read from next: the end of what was counted, or the step's effect; null before it. */
export function monitoringFrom(state: TallyState): number | null {
  return state.covered['monitoring']?.toAt ?? state.effectAt;
}

export function runningOf(tally: Tally, { name }: Pick<Check, 'name'>): Running {
  return tally.checks[name] ?? notRunning;
}

/** The latest value of a limit; null where it has none since the step took effect. */
export function latestValueOf(tally: Tally, check: Check): number | null {
  return runningOf(tally, check).latest?.value ?? null;
}

/** Stable's counts of the step, or all that is known of it where it took nothing in the step. */
export function comparison({ step, rollout }: Tally): VariantCounts {
  return step.stable.requests > 0 ? step.stable : rollout.stable;
}

/** Has stable an outage, or had one in its latest windows, by any of the checks? */
export function isShared({ checks }: Tally): boolean {
  return Object.values(checks).some(({ hits }) => hasOutage(hits.baseline));
}

export function errorsOf({ errors, requests }: VariantCounts): Count {
  return { hits: errors, trials: requests };
}

/** The checks after one more window; a window that lacks a variant tells of the other alone, one without numbers of nothing. */
function tested(
  before: Tally,
  seen: Counts,
  seconds: number,
  { window, policy }: { window: EvidenceWindow; policy: AnalysisPolicy },
): Pick<Tally, 'checks' | 'spent'> {
  const checks = { ...before.checks };
  const all = checksOf(policy);
  const told: (Told & { check: Check; above: number | null })[] = [];
  for (const check of all) {
    const { rule } = check;
    const running = runningOf(before, check);
    if (rule.kind === 'limit') checks[check.name] = { ...running, latest: newer(running, check, seen, window) };
    if (rule.kind !== 'rate' && rule.kind !== 'quantile') continue;
    const above = running.above ?? boundOf(check, addCounts(before.rollout.stable, seen.stable), policy);
    if (rule.kind === 'quantile' && above === null) continue;
    const [canary, stable] = [countOf(check, seen.canary, above), countOf(check, seen.stable, above)];
    if (canary.trials + stable.trials === 0) continue;
    const pair = { canary, stable, seconds };
    told.push({ check, above, test: running.hits, pair, allowance: allowanceOf(rule), part: partOf(check, all) });
  }
  const acting = told.filter(({ check }) => !check.isDryRun);
  // The acting checks that the window says nothing of are a part of the proof as they stand.
  const standing = all
    .filter((check) => isBet(check) && !check.isDryRun && !acting.some((one) => one.check === check))
    .map((check) => ({ log: worseLog(runningOf(before, check).hits), weight: partOf(check, all) }));
  const together = addWindows(acting, before.spent, standing);
  for (const [i, hits] of together.tests.entries()) {
    const { check, above } = nth(acting, i);
    checks[check.name] = { ...runningOf(before, check), above, hits };
  }
  // A dry run is judged by itself.
  for (const { check, above, test, pair, allowance } of told.filter((one) => one.check.isDryRun))
    checks[check.name] = { ...runningOf(before, check), above, hits: addWindow(test, pair, allowance) };
  return { checks, spent: acting.length === 0 ? before.spent : together.spent };
}

/** A window from before the first share: stable alone. What a proxy sees takes longer, so its quantiles begin with it. */
function remembered(
  before: Tally,
  stable: VariantCounts,
  window: EvidenceWindow,
  policy: AnalysisPolicy,
  kinds: string[],
): Tally['checks'] {
  const checks = { ...before.checks };
  for (const check of checksOf(policy)) {
    if (!kinds.includes(check.rule.kind)) continue;
    const running = runningOf(before, check);
    const above = running.above ?? boundOf(check, addCounts(before.rollout.stable, stable), policy);
    if (check.rule.kind === 'quantile' && above === null) continue;
    const count = countOf(check, stable, above);
    checks[check.name] = { ...running, above, hits: addPast(running.hits, count, secondsOf(window)) };
  }
  return checks;
}

/** A quantile's bound: null while stable's is not known from enough values. */
function boundOf(check: Check, stable: VariantCounts, { minRequests }: AnalysisPolicy): number | null {
  if (check.rule.kind !== 'quantile') return null;
  const values = valuesOf(check, stable);
  const quantile = countIn(values) < minRequests ? null : quantileMs(values, check.rule.quantileRatio);
  return quantile === null ? null : quantile * check.rule.maxRatio;
}

function newer({ latest }: Running, check: Check, seen: Counts, { toAt }: EvidenceWindow): Running['latest'] {
  const value = latestOf(check, seen.canary);
  return value === null || (latest !== null && latest.toAt > toAt) ? latest : { value, toAt };
}

/** How long a proxy is taken to be there after its last window. */
const heardMs = 30_000;

/** How many proxies tell of the same time. A minute of two of them is not two minutes, and a burst is one for all. */
function alongside({ source, window }: Evidence, covered: TallyState['covered']): number {
  if (!isProxy(source)) return 1;
  const heard = Object.entries(covered).filter(([id, { toAt }]) => isProxy(id) && toAt > window.fromAt - heardMs);
  return Math.max(1, heard.length);
}

function secondsOf({ fromAt, toAt }: EvidenceWindow): number {
  return (toAt - fromAt) / 1000;
}

function addPair(a: Counts, b: Counts): Counts {
  return { canary: addCounts(a.canary, b.canary), stable: addCounts(a.stable, b.stable) };
}

/** Of more proxies than are remembered, the one that has been silent for longest is forgotten: instances come and go. */
function remember(
  { covered: before, forgottenAt }: TallyState,
  { source, window }: Evidence,
  memory: Memory,
): Pick<TallyState, 'covered' | 'forgottenAt'> {
  const covered = { ...before, [source]: cover(before[source], window, windowsOf(source, before, memory)) };
  const others = Object.entries(before).filter(([id]) => isProxy(id));
  if (!isProxy(source) || Object.hasOwn(before, source) || others.length < memory.sourcesMax)
    return { covered, forgottenAt };
  const [id, { starts }] = nth(
    others.toSorted(([, a], [, b]) => a.toAt - b.toAt),
    0,
  );
  const { [id]: _forgotten, ...kept } = covered;
  return { covered: kept, forgottenAt: Math.max(forgottenAt ?? 0, nth(starts, starts.length - 1)) };
}

function cover(before: Covered | undefined, { fromAt, toAt }: EvidenceWindow, windowsMax: number): Covered {
  const starts = [...(before?.starts ?? []), fromAt].toSorted((a, b) => a - b).slice(-windowsMax);
  return { fromAt: Math.min(before?.fromAt ?? fromAt, fromAt), toAt: Math.max(before?.toAt ?? toAt, toAt), starts };
}
