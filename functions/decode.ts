/**
 * What came through the door? A CloudEvent in either mode, or the raw body that Pub/Sub pushes, becomes a message or an
 * audit-log entry. What cannot be understood is kept on the dead-letter topic with its reason, and acknowledged.
 */
import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import { z } from 'zod';
import { messageOf, PermanentError } from './engine/errors.ts';
import { limits } from './engine/limits.ts';
import { log } from './engine/log.ts';
import type { Outcome } from './engine/messages.ts';
import { problemsOf } from './engine/problems.ts';
import type { BusPort } from './engine/ports.ts';
import { sendDeadLetter } from './engine/publish.ts';

export interface Message {
  /** The data, JSON-decoded, over the attributes of the same names; the bytes as received in `original`. */
  payload: Record<string, unknown>;
  messageId: string;
  isAuditLog: boolean;
}

/** In either alphabet: node would decode any text, and what came would be lost. */
const base64 = z.string().refine((text) => {
  const [, digits] = /^([A-Za-z0-9+/_-]*)={0,2}$/.exec(text) ?? [];
  return digits !== undefined && digits.length % 4 !== 1;
}, 'expected base64');

const pushSchema = z.object({
  message: z.object({
    data: base64.default(''),
    attributes: z.record(z.string(), z.string()).nullish(),
    messageId: z.string().optional(),
    message_id: z.string().optional(),
  }),
});

const cloudEventSchema = z.object({ id: z.string(), type: z.string(), data: z.unknown().optional() });

interface Decoded {
  original: Buffer;
  messageId: string;
  result: { kind: 'message'; message: Message } | { kind: 'problem'; reason: string };
}

/** Decodes what functions-framework hands to a CloudEvent function. Never throws. */
export function decode(event: unknown): Decoded {
  const envelope = cloudEventSchema.safeParse(event).data ?? null;
  if (envelope?.type === 'google.cloud.audit.log.v1.written') {
    return understand(bytesOf(envelope.data), {}, envelope.id, true);
  }
  // A push without ce- headers and without data is handed on as it came: the body itself.
  const push = pushSchema.safeParse(envelope === null ? event : envelope.data);
  if (!push.success) {
    return problem(bytesOf(event), envelope?.id ?? '', `this is no Pub/Sub message: ${problemsOf(push.error)}`);
  }
  const { message } = push.data;
  // Pub/Sub numbers every message. Who posts one without a number by hand sends a new one each time.
  const messageId = message.messageId || message.message_id || envelope?.id || randomUUID();
  return understand(Buffer.from(message.data, 'base64'), message.attributes ?? {}, messageId, false);
}

/** Reads JSON over attributes of the same names. Of a message without data the attributes are the original. */
function understand(
  data: Buffer,
  attributes: Record<string, string>,
  messageId: string,
  isAuditEvent: boolean,
): Decoded {
  const original = data.length === 0 ? bytesOf(attributes) : data;
  if (original.length > limits.messageBytesMax) {
    const text = `the message has ${original.length} bytes; at most ${limits.messageBytesMax} are read, and kept here`;
    return problem(original, messageId, text);
  }
  if (data.length === 0 && Object.keys(attributes).length === 0) {
    return problem(original, messageId, 'the message is empty');
  }
  const value = parseJson(original);
  if (value.kind === 'problem') return problem(original, messageId, value.reason);
  const fields = objectOf(value.value);
  if (fields === null) return problem(original, messageId, 'the data is JSON, but not an object');
  const payload = { ...attributes, ...fields };
  const isAuditLog = isAuditEvent || 'protoPayload' in fields;
  return { original, messageId, result: { kind: 'message', message: { payload, messageId, isAuditLog } } };
}

/**
 * Receives one event: decodes it, acts, and sees to it that nothing is lost. Returns when the event is done with, and
 * throws only what a redelivery can heal.
 */
export async function receive(
  bus: BusPort,
  door: string,
  event: unknown,
  act: (message: Message) => Promise<Outcome>,
): Promise<void> {
  const { original, messageId, result } = decode(event);
  const outcome: Outcome =
    result.kind === 'problem' ? { kind: 'rejected', text: result.reason } : await guarded(act, result.message);
  const text = outcome.text.slice(0, limits.loggedCharsMax);
  const fields = { outcome: outcome.kind, messageId: messageId.slice(0, limits.loggedCharsMax) };
  log(outcome.kind === 'rejected' ? 'ERROR' : 'INFO', `${door}: ${text}`, fields);
  if (outcome.kind === 'rejected') await sendDeadLetter(bus, { data: original, reason: outcome.text, door, messageId });
}

/** Parses a payload, or says every problem at once. */
export function parsed<T extends z.ZodType>(
  schema: T,
  payload: Record<string, unknown>,
): { kind: 'ok'; value: z.output<T> } | { kind: 'rejected'; text: string } {
  const result = schema.safeParse(payload);
  return result.success ? { kind: 'ok', value: result.data } : { kind: 'rejected', text: problemsOf(result.error) };
}

async function guarded(act: (message: Message) => Promise<Outcome>, message: Message): Promise<Outcome> {
  try {
    return await act(message);
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    return { kind: 'rejected', text: error.message };
  }
}

function problem(original: Buffer, messageId: string, reason: string): Decoded {
  return { original, messageId, result: { kind: 'problem', reason } };
}

function parseJson(bytes: Buffer): { kind: 'ok'; value: unknown } | { kind: 'problem'; reason: string } {
  try {
    return { kind: 'ok', value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) };
  } catch (error) {
    return {
      kind: 'problem',
      reason: `the data is not JSON: ${messageOf(error)}`,
    };
  }
}

function objectOf(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;
}

/** What is kept of a value that is no Pub/Sub message: its bytes if they are known, else JSON. */
function bytesOf(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  try {
    return Buffer.from(JSON.stringify(value) ?? '');
  } catch {
    // Nested so deeply that JSON.stringify runs out of stack, though JSON.parse did not.
    return Buffer.from(inspect(value, { depth: 10 }));
  }
}
