/** How would a rollout have gone under another rule? Lives one through, in the world that the same seed gives ours. */
import { type Cell, horizonSeconds } from '../../../cli/simulate/cells.ts';
import type { LifeResult } from '../../../cli/simulate/lives.ts';
import { beginWorld, type Slot, slotSeconds } from '../../../cli/simulate/world.ts';
import type { Minute, Rule } from './rule.ts';

/** How much of stable's past our lives have, drawn here too, so that chance is the same from the first share on. */
const pastSeconds = 3600;
const lagMinutes = 3;

/** Lives one rollout, minute by minute. Errors are counted until the rollout ends: those of a canary that was kept go on. */
export function liveByRule(rule: Rule, cell: Cell, seed: number): LifeResult {
  const world = beginWorld(cell, seed);
  for (let at = -pastSeconds; at < 0; at += slotSeconds)
    world.serve({ second: at, percent: 0, heldSeconds: at + pastSeconds });
  const decide = rule.begin();
  const minutes: (Minute | null)[] = [];
  const readable: (Minute | null)[] = [];
  const place = { percent: rule.firstPercent, sinceMinute: 0 };
  const seen = { excessErrors: 0, exposure: 0, harmAt: Number.NaN, fullAt: Number.NaN };

  const horizon = rule.horizonMinutes ?? (cell.horizonSeconds ?? horizonSeconds) / 60;
  for (let minute = 0; minute < horizon; minute += 1) {
    const newest = minutes[minute - lagMinutes - 1];
    if (newest !== undefined) readable.push(newest);
    const heldMinutes = minute - place.sinceMinute;
    const decision = decide({ percent: place.percent, heldMinutes, minutes: readable });
    if (decision.kind === 'rollBack') return result('rolledBack', minute, decision.reason);
    if (decision.kind === 'complete') return result('proven', minute, 'complete');
    if (decision.kind === 'shift') {
      place.percent = decision.percent;
      place.sinceMinute = minute;
      if (place.percent === 100) seen.fullAt = minute;
    }
    minutes.push(serve(minute));
  }
  return result('waiting', horizon, 'neither complete nor rolled back');

  function serve(minute: number): Minute | null {
    const sum: Minute = { canary: { hits: 0, trials: 0 }, stable: { hits: 0, trials: 0 } };
    for (let second = minute * 60; second < (minute + 1) * 60; second += slotSeconds) {
      const slot = world.serve({ second, percent: place.percent, heldSeconds: second - place.sinceMinute * 60 });
      add(sum, slot);
      seen.exposure += slot.canary.requests;
      seen.excessErrors += slot.excess;
      if (slot.excess > 0 && Number.isNaN(seen.harmAt)) seen.harmAt = second;
    }
    const isLost = cell.gap !== undefined && minute * 60 >= cell.gap.fromSecond && minute * 60 < cell.gap.toSecond;
    return isLost ? null : sum;
  }

  function result(end: LifeResult['end'], minute: number, reason: string): LifeResult {
    const { excessErrors, exposure, harmAt, fullAt } = seen;
    const isCaught = end === 'rolledBack' && !Number.isNaN(harmAt);
    return {
      end,
      minutes: minute,
      minutesTo100: Number.isNaN(fullAt) ? null : fullAt,
      excessErrors,
      exposure,
      detectionSeconds: isCaught ? minute * 60 - harmAt : null,
      reason,
    };
  }
}

function add({ canary, stable }: Minute, slot: Slot): void {
  canary.hits += slot.canary.errors;
  canary.trials += slot.canary.requests;
  stable.hits += slot.stable.errors;
  stable.trials += slot.stable.requests;
}
