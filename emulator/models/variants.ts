/**
 * How does each version of the model behave? Two are sound and six are broken, each in one way that a rollout must
 * notice. Decides only: no I/O, and time and chance come in from outside.
 */
import { type DelayModel, logOddsOf, sigmoid } from './delay-model.ts';
import type { Flight } from './flights.ts';
import { logNormal, seededRandom } from './random.ts';

export const versions = ['1', '2', '3', '4', '5', '6', '7', '8'] as const;
export type Version = (typeof versions)[number];

interface Traits {
  /** Trained weights it serves with. */
  weights: 1 | 2;
  fault: 'none' | 'fails-evenings' | 'slow' | 'drifted' | 'never-healthy' | 'crashes' | 'overloads';
  description: string;
}

export const traitsOf: Record<Version, Traits> = {
  '1': { weights: 1, fault: 'none', description: 'Logistic regression on hour, distance and weekend' },
  '2': { weights: 2, fault: 'none', description: 'Knows airports and hours as well; better on held-out flights' },
  '3': {
    weights: 2,
    fault: 'fails-evenings',
    description: 'Answers 500 for departures from 19:00 on, 18 % of flights',
  },
  '4': { weights: 2, fault: 'slow', description: 'Takes three times as long' },
  '5': { weights: 2, fault: 'drifted', description: 'Predicts nearly every flight late, whatever it is asked' },
  '6': { weights: 2, fault: 'never-healthy', description: 'Never finishes loading, so never becomes healthy' },
  '7': { weights: 2, fault: 'crashes', description: 'Its process ends after some hundred requests' },
  '8': { weights: 2, fault: 'overloads', description: 'Answers 503 as soon as it gets more than its capacity' },
};

export interface Prediction {
  late: boolean;
  probability: number;
}

export type Answer =
  | { kind: 'predictions'; predictions: Prediction[]; serviceMs: number }
  | { kind: 'error'; status: 500 | 503; message: string; serviceMs: number }
  /** The process must end at once, without an answer. */
  | { kind: 'crash' };

export interface VariantOptions {
  seed: number;
  /** Requests a second that version 8 can take. */
  capacityRps: number;
  /** Requests that version 7 answers before it crashes. */
  crashAfter: number;
}

/** Long beside what the way there and back takes on a busy laptop, so that slow is seen to be slow. */
const service = { medianMs: 20, spread: 0.35, slowFactor: 3 };

/** A flight this likely to be late is called late: half as likely again as the average flight of the data. */
const LATE_FROM = 0.33;

const FIRST_EVENING_HOUR = 19;

/**
 * Makes the behaviour of one version. The function it returns takes the instances of one request and when they came,
 * in milliseconds of any clock that never goes back, and counts the request. Without instances it predicts nothing.
 */
export function createVariant(
  version: Version,
  model: DelayModel,
  options: VariantOptions,
): (flights: Flight[], atMs: number) => Answer {
  const { fault } = traitsOf[version];
  const random = seededRandom(options.seed);
  const isOverCapacity = createRateGate(options.capacityRps);
  let requests = 0;

  return (flights, atMs) => {
    requests++;
    const medianMs = service.medianMs * (fault === 'slow' ? service.slowFactor : 1);
    const serviceMs = logNormal(random, medianMs, service.spread);
    if (fault === 'crashes' && requests > options.crashAfter) return { kind: 'crash' };
    if (fault === 'overloads' && isOverCapacity(atMs)) {
      return { kind: 'error', status: 503, message: `over capacity: ${options.capacityRps} requests/s`, serviceMs };
    }
    const evening = flights.find(({ departureHour }) => departureHour >= FIRST_EVENING_HOUR);
    if (fault === 'fails-evenings' && evening !== undefined) {
      return { kind: 'error', status: 500, message: `no schedule for hour ${evening.departureHour}`, serviceMs };
    }
    const predictions = flights.map((flight) => {
      const logOdds = logOddsOf(flight, model);
      return predictionOf(sigmoid(fault === 'drifted' ? 1.2 + 0.3 * logOdds : logOdds));
    });
    return { kind: 'predictions', predictions, serviceMs };
  };
}

function predictionOf(probability: number): Prediction {
  return { late: probability >= LATE_FROM, probability: Math.round(probability * 1e4) / 1e4 };
}

/** Counts calls over a sliding second; true for each that exceeds the capacity. Keeps no more instants than that. */
function createRateGate(capacityRps: number): (atMs: number) => boolean {
  const accepted = Math.max(1, Math.floor(capacityRps));
  const recent: number[] = [];
  return (atMs) => {
    recent.push(atMs);
    if (recent.length <= accepted) return false;
    const before = recent.shift() ?? Number.NEGATIVE_INFINITY;
    return atMs - before < 1000;
  };
}
