/**
 * What does `:predict` answer when it was asked upstream as `:rawPredict`? The model's own JSON object, to which Vertex's
 * names of the DeployedModel are added as bytes: no caller waits for predictions to be parsed.
 */
import { limits } from '../engine/limits.ts';
import { googleError } from './google-error.ts';
import type { ServedBy } from './headers.ts';

const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Adds who served to a model's answer; null when the answer is no JSON object, which `:predict` cannot pass on. */
export function predictAnswer(answer: Buffer, servedBy: ServedBy): Buffer | null {
  const first = skipSpace(answer, 0, 1);
  const last = skipSpace(answer, answer.length - 1, -1);
  if (answer[first] !== openBrace || answer[last] !== closeBrace || last <= first) return null;
  const names = namesOf(servedBy);
  if (names.length === 0) return answer;
  // Last, so that a model that names itself does not hide what Vertex said.
  const isEmpty = skipSpace(answer, first + 1, 1) === last;
  return Buffer.concat([answer.subarray(0, last), isEmpty ? names.subarray(1) : names]);
}

interface Names extends ServedBy {
  /** Of JSON, from the comma to the closing brace; empty where there are none. */
  bytes: Buffer;
}

/** By DeployedModel: a few give all the answers, and to write their names takes longer than all else that is done here. */
const written = new Map<string | null, Names>();

function namesOf(servedBy: ServedBy): Buffer {
  const { deployedModelId, model, modelVersionId } = servedBy;
  const before = written.get(deployedModelId);
  if (before !== undefined && before.model === model && before.modelVersionId === modelVersionId) return before.bytes;
  const fields = Object.entries({ deployedModelId, model, modelVersionId }).filter(([, value]) => value !== null);
  const text = fields.map(([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value)}`).join('');
  const bytes = Buffer.from(text === '' ? '' : `${text}}`);
  if (written.size >= limits.evidenceVariantsMax) written.clear();
  written.set(deployedModelId, { ...servedBy, bytes });
  return bytes;
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
