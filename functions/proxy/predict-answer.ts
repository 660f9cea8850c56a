/**
 * What does `:predict` answer when it was asked upstream as `:rawPredict`? The model's own JSON object, to which Vertex's
 * names of the DeployedModel are added as bytes: no caller waits for predictions to be parsed.
 */
import { googleError } from './google-error.ts';
import type { ServedBy } from './headers.ts';

const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Adds who served to a model's answer; null when the answer is no JSON object, which `:predict` cannot pass on. */
export function predictAnswer(answer: Buffer, servedBy: ServedBy): Buffer | null {
  const first = skipSpace(answer, 0, 1);
  const last = skipSpace(answer, answer.length - 1, -1);
  if (answer[first] !== openBrace || answer[last] !== closeBrace || last <= first) return null;
  const { deployedModelId, model, modelVersionId } = servedBy;
  let names = '';
  if (deployedModelId !== null) names += `,"deployedModelId":${JSON.stringify(deployedModelId)}`;
  if (model !== null) names += `,"model":${JSON.stringify(model)}`;
  if (modelVersionId !== null) names += `,"modelVersionId":${JSON.stringify(modelVersionId)}`;
  if (names === '') return answer;
  // Last, so that a model that names itself does not hide what Vertex said.
  const isEmpty = skipSpace(answer, first + 1, 1) === last;
  const end = `${isEmpty ? names.slice(1) : names}}`;
  const whole = Buffer.allocUnsafe(last + Buffer.byteLength(end));
  answer.copy(whole, 0, 0, last);
  whole.write(end, last);
  return whole;
}

/** An error of `:predict`: Google's JSON as it came, or the model's own words inside Google's JSON. */
export function predictError(code: number, answer: Buffer): Buffer {
  if (isGoogleError(answer)) return answer;
  const words = answer.subarray(0, 2048).toString('utf8').trim();
  return Buffer.from(googleError(code, words === '' ? `The model answered ${code} without a body` : words));
}

function isGoogleError(answer: Buffer): boolean {
  try {
    const parsed: unknown = JSON.parse(answer.toString('utf8'));
    if (typeof parsed !== 'object' || parsed === null || !('error' in parsed)) return false;
    const { error } = parsed;
    if (typeof error !== 'object' || error === null) return false;
    if (!('code' in error && 'message' in error && 'status' in error)) return false;
    return Number.isInteger(error.code) && typeof error.message === 'string' && typeof error.status === 'string';
  } catch {
    return false;
  }
}

/** The first index from `at` on, in the direction of `step`, whose byte is not JSON white space. */
function skipSpace(bytes: Buffer, at: number, step: 1 | -1): number {
  let index = at;
  for (;;) {
    const byte = bytes[index];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return index;
    index += step;
  }
}
