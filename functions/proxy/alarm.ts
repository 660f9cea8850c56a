/**
 * Should what this instance counted be told sooner? When one DeployedModel fails more often than the others, by a test on
 * local counts alone. It decides nothing: the controller judges all instances together, and knows who is the canary.
 */
import type { Count } from '../../machines/analysis/evalue.ts';
import {
  addWindow,
  type Allowance,
  type HitTest,
  isSuspect,
  noHitTest,
  worseLog,
} from '../../machines/analysis/hit-test.ts';
import { limits } from '../engine/limits.ts';

/** The alarm of one endpoint. */
export interface Alarm {
  /** Takes note of an answer. True when it makes the alarm go off, which each DeployedModel does once in each watch. */
  saw(deployedModelId: string, isError: boolean, now: number): boolean;
}

interface Watched {
  test: HitTest;
  /** Since the test was last carried on. */
  open: Count;
  isTold: boolean;
  isSeen: boolean;
}

/** As a policy has it by default. A policy that allows more hears of it sooner than it needs to. */
const allowance: Allowance = { margin: 0.005, floor: 0, ceiling: 0.05 };
/** 20 : 1. A false alarm costs a few messages. */
const boundLog = Math.log(20);

/** Makes an alarm that has seen nothing. Most answers cost it two additions; the tests go on at most ten times a second. */
export function createAlarm(): Alarm {
  const watched = new Map<string, Watched>();
  let isFailing = false;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let begunAt = Number.NEGATIVE_INFINITY;

  /** Carries each test on by what came since: one DeployedModel against all the others, for any may be the canary. */
  function look(now: number): boolean {
    const seconds = Math.min(limits.alarmWatchMs, now - lookedAt) / 1000;
    const all = { hits: 0, trials: 0 };
    for (const { open } of watched.values()) addTo(all, open);
    let goesOff = false;
    for (const one of watched.values()) {
      const others = { hits: all.hits - one.open.hits, trials: all.trials - one.open.trials };
      one.test = addWindow(one.test, { canary: one.open, stable: others, seconds }, allowance);
      one.open = { hits: 0, trials: 0 };
      // Alone, it cannot be proven worse within minutes, only suspected: the controller knows what to do with that too.
      if (one.isTold || (worseLog(one.test) < boundLog && !isSuspect(one.test))) continue;
      one.isTold = true;
      goesOff = true;
    }
    lookedAt = now;
    isFailing = false;
    return goesOff;
  }

  /** Tests that are old need much to be turned; they begin anew, with what the others were like, and may go off again. */
  function beginWatch(now: number): void {
    begunAt = now;
    for (const [id, { isSeen, test, open }] of watched) {
      if (!isSeen) watched.delete(id);
      else watched.set(id, { test: { ...noHitTest, baseline: test.baseline }, open, isTold: false, isSeen: false });
    }
  }

  return {
    saw(deployedModelId, isError, now) {
      if (now - begunAt >= limits.alarmWatchMs) beginWatch(now);
      if (now < lookedAt || lookedAt === Number.NEGATIVE_INFINITY) lookedAt = now - limits.alarmFailingMs;
      let one = watched.get(deployedModelId);
      if (one === undefined) {
        if (watched.size >= limits.evidenceVariantsMax) return false;
        one = { test: noHitTest, open: { hits: 0, trials: 0 }, isTold: false, isSeen: true };
        watched.set(deployedModelId, one);
      }
      one.isSeen = true;
      one.open.trials += 1;
      if (isError) {
        one.open.hits += 1;
        isFailing = true;
      }
      // A window with nothing but successes can wait, but not for long: it would drown the first errors.
      return now - lookedAt >= (isFailing ? limits.alarmFailingMs : limits.alarmQuietMs) && look(now);
    },
  };
}

function addTo(sum: Count, { hits, trials }: Count): void {
  sum.hits += hits;
  sum.trials += trials;
}
