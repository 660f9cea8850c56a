/** What does a person want to see of a rollout? The shape that the dashboard's API, the CLI and the live view share. */
import type { Verdict } from '../analysis/verdict.ts';

export const rolloutStates = [
  'queued',
  'preparing',
  'deploying',
  'warming',
  'shifting',
  'analysing',
  'awaitingApproval',
  'promoting',
  'observing',
  'rollingBack',
  'promoted',
  'rolledBack',
  'aborted',
  'failed',
  'superseded',
] as const;

export type RolloutState = (typeof rolloutStates)[number];

export interface VariantView {
  role: 'canary' | 'stable';
  deployedModelId: string;
  model: string;
  versionId: string;
  intendedPercent: number;
  /** Share of the requests seen since the step took effect; null before any. */
  observedPercent: number | null;
  /** Since the current step took effect. */
  requests: number;
  errors: number;
  /** At the policy's quantile; null when unknown. */
  latencyMs: number | null;
}

export interface RolloutView {
  id: string;
  endpoint: string;
  model: string;
  versionId: string;
  policy: string;
  state: RolloutState;
  isFinal: boolean;
  paused: { at: number; by: string; reason: string } | null;
  /** Which step is in effect or being taken, from 0; null before the first. */
  stepIndex: number | null;
  steps: { percent: number; holdSeconds: number; approval: boolean }[];
  /** The canary's intended share now. */
  percent: number;
  variants: VariantView[];
  /** The latest of each source. */
  verdicts: Verdict[];
  /** Why it is where it is: one sentence. */
  reason: string;
  by: string | null;
  /** The next moment at which something is due, in milliseconds since the epoch, and what it is. */
  next: { at: number; what: string } | null;
  startedAt: number;
  updatedAt: number;
  endedAt: number | null;
}

export interface JournalView {
  at: number;
  /** What happened: the event's type. */
  event: string;
  by: string | null;
  from: string;
  to: string;
  /** One sentence, numbers included. */
  text: string;
  /** The event and the effects owed after it, as recorded. */
  detail: unknown;
}
