/**
 * Does a door take whatever comes? Throws seeded inputs at one, one after the other, and writes down each after which a
 * promise was broken: it threw, took too long, left something unhandled, said nothing, or kept memory.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';

export interface Door<Input = unknown> {
  name: string;
  inputs: fc.Arbitrary<Input>;
  /** Opens a world behind the door. */
  open(): Promise<OpenDoor<Input>>;
}

export interface OpenDoor<Input> {
  /** Lets one input in, and says what became of each of its parts, in a word. Throws when a promise was broken. */
  admit(input: Input): Promise<string[]>;
  close(): Promise<void>;
}

export interface Failure {
  index: number;
  message: string;
  input: unknown;
}

export interface Result {
  door: string;
  inputs: number;
  failures: Failure[];
  /** What became of the inputs: how many of each. */
  became: Record<string, number>;
  slowestMs: number;
  slowestIndex: number;
  /** Of the heap after collection, from the first fifth of the run to its end; null in runs too short to tell. */
  grownMb: number | null;
}

export interface RunOptions {
  inputs: number;
  seed: number;
  /** Told before each input, for whoever watches. */
  begins?: (index: number, failures: number) => void;
}

/** No port keeps anybody waiting here, so this long is for ever, even on a busy machine. */
const deadlineMs = 20_000;
/** Of this thread alone. What takes longer could starve the others. */
const cpuMsMax = 1500;
const portion = 500;
/** More says nothing new. */
const failuresMax = 50;
const grownMbMax = 48;

/** Input number `index` of a seed, the same for ever. */
export function inputAt<Input>(door: Door<Input>, seed: number, index: number): Input {
  const inputs = portionOf(door, seed, Math.floor(index / portion));
  const found = inputs[index % portion];
  if (found === undefined) throw new Error(`There is no input ${index}`);
  return found;
}

/** Throws `inputs` inputs at a door. Failures are counted, and the run goes on. */
export async function run<Input>(door: Door<Input>, { inputs, seed, begins }: RunOptions): Promise<Result> {
  const result: Result = {
    door: door.name,
    inputs: 0,
    failures: [],
    became: {},
    slowestMs: 0,
    slowestIndex: 0,
    grownMb: null,
  };
  const unhandled: string[] = [];
  const note = (error: unknown): void => void unhandled.push(`unhandled: ${textOf(error)}`);
  process.on('unhandledRejection', note);
  process.on('uncaughtException', note);
  const heaps: number[] = [];
  let opened = await door.open();
  try {
    for (let at = 0; result.inputs < inputs; at += 1) {
      for (const [i, input] of portionOf(door, seed, at)
        .slice(0, inputs - at * portion)
        .entries()) {
        const index = at * portion + i;
        begins?.(index, result.failures.length);
        const startedAt = process.threadCpuUsage();
        const fail = (message: string): void => void result.failures.push({ index, message, input });
        try {
          const words = await inTime(opened.admit(input));
          for (const word of words) result.became[word] = (result.became[word] ?? 0) + 1;
        } catch (error) {
          fail(textOf(error));
          // Whatever it left behind is not the next one's fault.
          await opened.close();
          opened = await door.open();
        }
        for (const message of unhandled.splice(0)) fail(message);
        const { user, system } = process.threadCpuUsage(startedAt);
        const ms = (user + system) / 1000;
        if (ms > cpuMsMax) fail(`took ${Math.round(ms)} ms, in which nothing else could be done`);
        if (ms > result.slowestMs) [result.slowestMs, result.slowestIndex] = [ms, index];
        result.inputs += 1;
        if (result.failures.length >= failuresMax) return result;
      }
      heaps.push(heapMb());
    }
    await new Promise((resolve) => setImmediate(resolve));
    for (const message of unhandled) result.failures.push({ index: inputs - 1, message, input: 'the end' });
    result.grownMb = grown(heaps);
    if (result.grownMb !== null && result.grownMb > grownMbMax) {
      const message = `the heap grew by ${Math.round(result.grownMb)} MB`;
      result.failures.push({ index: inputs - 1, message, input: 'the whole run' });
    }
    return result;
  } finally {
    await opened.close();
    process.off('unhandledRejection', note);
    process.off('uncaughtException', note);
  }
}

/** The smallest input found that still fails where this one does. */
export async function shrunk<Input>(door: Door<Input>, seed: number, index: number): Promise<unknown> {
  const fails = fc.asyncProperty(door.inputs, async (input) => {
    const opened = await door.open();
    try {
      await inTime(opened.admit(input));
    } finally {
      await opened.close();
    }
  });
  const at = Math.floor(index / portion);
  const details = await fc.check(fails, {
    seed: seedOf(seed, at),
    path: String(index % portion),
    numRuns: portion,
    interruptAfterTimeLimit: 20_000,
    markInterruptAsFailure: false,
  });
  return details.counterexample?.[0];
}

function portionOf<Input>(door: Door<Input>, seed: number, at: number): Input[] {
  return fc.sample(door.inputs, { seed: seedOf(seed, at), numRuns: portion });
}

function seedOf(seed: number, at: number): number {
  return (Math.imul(seed, 0x9e37_79b1) + at) | 0;
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

setFlagsFromString('--expose-gc');
const collect: unknown = runInNewContext('gc');

function heapMb(): number {
  if (typeof collect === 'function') collect();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 2 ** 20;
}

function grown(heaps: number[]): number | null {
  if (heaps.length < 10) return null;
  const fifth = Math.floor(heaps.length / 5);
  return middle(heaps.slice(-fifth)) - middle(heaps.slice(fifth, 2 * fifth));
}

function middle(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by ${textOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
