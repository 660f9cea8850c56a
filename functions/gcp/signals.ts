/** What do the owner's checks read, beside requests and latencies? The interface of each source of signals. */
import type { EvidenceWindow, Signals } from '../../machines/analysis/evidence.ts';
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import type { MetricsQuery } from '../engine/ports.ts';

/** One endpoint's window, already cut to whole periods, and the checks of one source that ask about it. */
export interface SignalQuery {
  endpoint: string;
  window: EvidenceWindow;
  /** When the canary's share took effect. */
  sinceAt: number;
  periodMs: number;
  models: MetricsQuery['models'];
  checks: CheckPolicy[];
}

/** Signals by the end of their period (milliseconds since the epoch), then by DeployedModel id, then by the check's name. */
export type SignalsByPeriod = Map<number, Record<string, Signals>>;

export interface SignalAnswer {
  periods: SignalsByPeriod;
  /** What could not be read, refused or repaired, each a sentence that names its check. */
  notes: string[];
}

/** Reads one kind of source for many endpoints at once, in the queries' order. Throws nothing but a fault of our own. */
export interface SignalReader {
  kind: CheckPolicy['from']['kind'];
  read(queries: SignalQuery[]): Promise<SignalAnswer[]>;
}
