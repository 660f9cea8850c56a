/**
 * What ought to be over by now? Nearly all is, long before its deadline, so one timer looks at what is left from time to
 * time. One of Node's for each request would cost more than the counting of it.
 */
import { limits } from '../engine/limits.ts';

/** A link in the chain of all that are pending; of itself alone when it is over. */
export class Deadline {
  readonly ms: number;
  readonly passed: () => void;
  /** On the clock of performance.now(), which nobody sets; null until it is first looked at, which most never are. */
  at: number | null = null;
  before: Deadline = this;
  after: Deadline = this;

  constructor(ms: number, passed: () => void) {
    this.ms = ms;
    this.passed = passed;
  }
}

/** Its `after` is the oldest, its `before` the youngest. */
const chain = new Deadline(Number.POSITIVE_INFINITY, () => undefined);
let timer: NodeJS.Timeout | undefined;

/**
 * Calls `passed` once, `ms` from now, unless the deadline is ended before: up to two looks late, and later by as long as the
 * process was held up before the first.
 */
export function beginDeadline(ms: number, passed: () => void): Deadline {
  const deadline = new Deadline(ms, passed);
  deadline.before = chain.before;
  deadline.after = chain;
  chain.before.after = deadline;
  chain.before = deadline;
  timer ??= setInterval(look, limits.deadlineLookMs).unref();
  return deadline;
}

/** Once too often does no harm. */
export function endDeadline(deadline: Deadline): void {
  deadline.before.after = deadline.after;
  deadline.after.before = deadline.before;
  deadline.before = deadline;
  deadline.after = deadline;
}

function look(): void {
  const now = performance.now();
  const over: Deadline[] = [];
  for (let one = chain.after; one !== chain; one = one.after) {
    one.at ??= now + one.ms;
    if (one.at <= now) over.push(one);
  }
  for (const one of over) {
    // One that has passed may end others.
    if (one.after === one) continue;
    endDeadline(one);
    one.passed();
  }
  if (chain.after !== chain) return;
  clearInterval(timer);
  timer = undefined;
}
