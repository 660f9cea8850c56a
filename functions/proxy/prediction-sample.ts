/**
 * What did a model predict? One number from each prediction of a sample of answers, for the comparison of variants. What
 * looking costs is bounded, and nothing but the numbers is kept.
 */
/** Whether one more answer of a variant may be looked at, in the second of `at` (in ms). Each yes is spent. */
export type SampleBudget = (endpoint: string, deployedModelId: string, at: number) => boolean;

/** Makes a budget that says yes to each variant's first answers in each second of the clock, and no to the rest. */
export function createSampleBudget(answersPerSecondMax: number): SampleBudget {
  const spentBy = new Map<string, Map<string, number>>();
  let second = Number.NEGATIVE_INFINITY;
  return (endpoint, deployedModelId, at) => {
    const current = Math.floor(at / 1000);
    if (current !== second) {
      second = current;
      spentBy.clear();
    }
    let spent = spentBy.get(endpoint);
    if (spent === undefined) spentBy.set(endpoint, (spent = new Map()));
    const count = spent.get(deployedModelId) ?? 0;
    if (count >= answersPerSecondMax) return false;
    spent.set(deployedModelId, count + 1);
    return true;
  };
}

/** The numbers of the predictions in a model's answer; empty when it is not JSON with an array `predictions`. */
export function predictionNumbers(answer: readonly Buffer[]): number[] {
  const parsed = parse(Buffer.concat(answer).toString('utf8'));
  if (typeof parsed !== 'object' || parsed === null || !('predictions' in parsed)) return [];
  const { predictions } = parsed;
  if (!Array.isArray(predictions)) return [];
  return predictions.map(numberOf).filter((number) => number !== null);
}

/** Where models put the number that matters, the most telling first. */
const tellingFields = ['probability', 'score', 'value', 'prediction'];

/** A prediction's number, true being 1 and false 0; null when it has none. Lists and objects are not searched deeper. */
function numberOf(prediction: unknown): number | null {
  if (typeof prediction === 'number') return prediction;
  if (typeof prediction === 'boolean') return Number(prediction);
  if (typeof prediction !== 'object' || prediction === null) return null;
  if (Array.isArray(prediction)) return firstNumber(prediction);
  return (
    firstNumber(tellingFields.map((name) => Reflect.get(prediction, name))) ?? firstNumber(Object.values(prediction))
  );
}

function firstNumber(values: readonly unknown[]): number | null {
  return values.find((value) => typeof value === 'number') ?? null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON, or cut, or with the NaN of Python: it has no predictions that can be compared.
    return null;
  }
}
