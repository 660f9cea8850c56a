/** Which fault happens at which await, and to which message? Drawn from the seed; each has a number and can be left out. */
import type { Random } from '../../../emulator/models/random.ts';

export const faultKinds = [
  'crash',
  'sigterm',
  'refused',
  'replyLost',
  'slowCall',
  'doneAfterDeadline',
  'raced',
  'staleRead',
  'storeConflict',
  'outage',
  'clockSkew',
  'messageDuplicated',
  'messageDelayed',
  'messageLost',
  'acknowledgementLost',
  'tickMissed',
  'tickDoubled',
  'tickLate',
  'operationsStuck',
  'operationsSlow',
  'deploymentSick',
  'replicasLost',
  'metricGap',
  'metricLag',
  'metricsRestated',
  'splitChanged',
  'deploymentChanged',
  'tickJobPaused',
  'command',
  'incident',
  'evidenceReported',
] as const;

export type FaultKind = (typeof faultKinds)[number];
/** What may happen at an await. */
export type AwaitFault = Extract<
  FaultKind,
  | 'crash'
  | 'sigterm'
  | 'refused'
  | 'replyLost'
  | 'slowCall'
  | 'doneAfterDeadline'
  | 'raced'
  | 'storeConflict'
  | 'staleRead'
>;

export interface Chaos {
  random: Random;
  /** True when chance says so and the fault is not left out; then it is counted and told. */
  strikes(kind: FaultKind, probability: number, what: () => string): boolean;
  /** The same of what is no fault: what people and alerts do, at moments of their own. */
  happens(kind: FaultKind, probability: number, what: () => string): boolean;
  /** The fault that strikes at an await; null for none. */
  atAwait(call: string, moment: 'before' | 'after'): AwaitFault | null;
  /** One of Google's status codes that this call may answer with. */
  code(call: string): number;
  end(): void;
  readonly isOn: boolean;
  readonly injected: Partial<Record<FaultKind, number>>;
  /** How many were drawn, those left out included: they are numbered from 1. */
  readonly drawn: number;
  pick<T>(items: readonly T[]): T;
  between(from: number, to: number): number;
}

/** An item drawn from a source of chance. */
export function pickWith<T>(random: Random, items: readonly T[]): T {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error('nothing to pick from');
  return item;
}

const before: AwaitFault[] = ['crash', 'refused', 'refused', 'slowCall', 'doneAfterDeadline', 'raced', 'sigterm'];
const after: AwaitFault[] = ['crash', 'replyLost', 'replyLost', 'slowCall', 'raced', 'sigterm'];
/** All that Google's calls may fail with. */
const codes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
/** NOT_FOUND for what is there would be a lie that the API does not tell: it means that the thing is gone. */
const neverNotFound = new Set(['endpoints.read', 'endpoints.writeSplit', 'endpoints.undeploy', 'endpoints.resize']);
/** The store's client turns ABORTED and ALREADY_EXISTS into conflicts itself, and its documents are never NOT_FOUND. */
const storeCodes = [1, 2, 4, 7, 8, 13, 14, 16];

/**
 * @param random where faults come from
 * @param life where everything else comes from, which is the same with faults and without
 * @param hazard chance of a fault at each await
 * @param leftOut numbers of faults that do not happen, for finding the few that matter
 */
export function chaos(
  random: Random,
  life: Random,
  hazard: number,
  leftOut: ReadonlySet<number>,
  tell: (what: string) => void,
): Chaos {
  const injected: Chaos['injected'] = {};
  let isOn = true;
  let drawn = 0;

  function note(kind: FaultKind, what: () => string): boolean {
    drawn += 1;
    if (leftOut.has(drawn)) return false;
    injected[kind] = (injected[kind] ?? 0) + 1;
    tell(`FAULT ${drawn} ${kind}: ${what()}`);
    return true;
  }

  const pick = <T>(items: readonly T[]): T => pickWith(random, items);

  return {
    random,
    injected,
    pick,
    get isOn() {
      return isOn;
    },
    get drawn() {
      return drawn;
    },
    happens: (kind, probability, what) => life() < probability && note(kind, what),
    strikes: (kind, probability, what) => isOn && random() < probability && note(kind, what),
    atAwait: (call, moment) => {
      if (!isOn || random() >= hazard) return null;
      const isStore = call.startsWith('store.');
      const more: AwaitFault[] =
        moment === 'before' && call === 'store.commit'
          ? ['storeConflict', 'storeConflict']
          : moment === 'before' && isStore
            ? ['staleRead', 'staleRead', 'staleRead']
            : [];
      const kind = pick([...(moment === 'before' ? before : after), ...more]);
      return note(kind, () => `${call} (${moment})`) ? kind : null;
    },
    code: (call) => {
      if (call.startsWith('store.')) return pick(storeCodes);
      const code = pick(codes);
      return code === 5 && neverNotFound.has(call) ? 14 : code;
    },
    end: () => {
      isOn = false;
    },
    between: (from, to) => from + random() * (to - from),
  };
}
