/**
 * What does `:predict` answer when it was asked upstream as `:rawPredict`? The model's own JSON object, to which Vertex's
 * names of the DeployedModel are added as bytes: no caller waits for predictions to be parsed.
 */
import { limits } from '../engine/limits.ts';
import { googleError } from './google-error.ts';
import type { ServedBy } from './headers.ts';

const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Each character a byte (latin1): Node writes a short text in one piece with the head before it, and faster than bytes. */
type Text = string;

const shortBytesMax = 16_384;

/** Adds who served to a model's answer; null when the answer is no JSON object, which `:predict` cannot pass on. */
export function predictAnswer(answer: Buffer, servedBy: ServedBy): Text | Buffer | null {
  const first = skipSpace(answer, 0, 1);
  const last = skipSpace(answer, answer.length - 1, -1);
  if (answer[first] !== openBrace || answer[last] !== closeBrace || last <= first) return null;
  const names = namesOf(servedBy);
  // Last, so that a model that names itself does not hide what Vertex said.
  const isEmpty = skipSpace(answer, first + 1, 1) === last;
  const added = names !== '' && isEmpty ? names.slice(1) : names;
  const end = added === '' ? answer.length : last;
  return answer.length <= shortBytesMax
    ? answer.toString('latin1', 0, end) + added
    : Buffer.concat([answer.subarray(0, end), bytesOf(added)]);
}

/** What predictAnswer() gave, as bytes. */
export function bytesOf(answer: Text | Buffer): Buffer {
  return typeof answer === 'string' ? Buffer.from(answer, 'latin1') : answer;
}

interface Names extends ServedBy {
  /** From the comma to the closing brace; empty where there are none. */
  json: Text;
}

/** By DeployedModel: a few give all the answers, and to write their names takes longer than all else that is done here. */
const written = new Map<string | null, Names>();

function namesOf(servedBy: ServedBy): Text {
  const { deployedModelId, model, modelVersionId } = servedBy;
  const before = written.get(deployedModelId);
  if (before !== undefined && before.model === model && before.modelVersionId === modelVersionId) return before.json;
  const fields = Object.entries({ deployedModelId, model, modelVersionId }).filter(([, value]) => value !== null);
  const text = fields.map(([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value)}`).join('');
  const json = Buffer.from(text === '' ? '' : `${text}}`).toString('latin1');
  if (written.size >= limits.evidenceVariantsMax) written.clear();
  written.set(deployedModelId, { ...servedBy, json });
  return json;
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
