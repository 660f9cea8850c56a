/**
 * The five event functions. What comes is a good message that was damaged, in each form that Eventarc and Pub/Sub send, or
 * no message at all; most of it straight into the function, some over HTTP through functions-framework.
 */
import type { Server } from 'node:http';
import { once } from 'node:events';
import { cloudEvent } from '@google-cloud/functions-framework';
import { getTestServer } from '@google-cloud/functions-framework/testing';
import fc from 'fast-check';
import { parseRecord } from '../../../machines/rollout/record.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { topics } from '../../../functions/engine/publish.ts';
import { onBlessing } from '../../../functions/on-blessing.ts';
import { onCommand } from '../../../functions/on-command.ts';
import { onEvidence } from '../../../functions/on-evidence.ts';
import { onIncident } from '../../../functions/on-incident.ts';
import { onTick } from '../../../functions/on-tick.ts';
import type { Wiring } from '../../../functions/wiring.ts';
import { anyValue, damaged, damagedJson, jsonOf } from '../arbitraries.ts';
import type { Door, OpenDoor } from '../run.ts';
import {
  captured,
  endpoint,
  type FuzzWorld,
  model,
  openWorld,
  parent,
  type Scene,
  sceneWith,
  startAt,
} from '../world.ts';
import { portOf } from '../../port.ts';

export type Handler = (event: unknown, wiring: Wiring) => Promise<void>;

/** An event as functions-framework gives it to a function, or a request as it reaches functions-framework. */
export type Delivery = { via: 'call'; event: unknown } | { via: 'http'; headers: Record<string, string>; body: string };

const published = 'google.cloud.pubsub.topic.v1.messagePublished';
const auditWritten = 'google.cloud.audit.log.v1.written';
const soon = new Date(startAt + 20_000).toISOString();
const counts = { requests: 100, errors: 1, latencyMs: { bounds: [10, 20], counts: [50, 40, 10] } };
const most = Number.MAX_SAFE_INTEGER;
const enormous = { requests: most, errors: 1, latencyMs: { bounds: [10], counts: [most, most] } };
const window = { from: new Date(startAt + 10_000).toISOString(), to: soon };

/** Good messages by door; `{canary}` and `{rollout}` stand for the ids of the scene. */
const good: Record<string, (ids: Ids) => object[]> = {
  onBlessing: () => [
    { model, versionId: '2' },
    { eventId: 'e-1', model, versionId: '3', endpoint, policy: 'delays-1', by: 'ci', blessedAt: soon },
    { model: `${model}@1`, blessedAt: '2020-01-01T00:00:00Z' },
    logEntry('MergeVersionAliases', { name: `${model}@2`, versionAliases: ['blessed'] }),
    logEntry('UploadModel', { parentModel: model, model: { versionAliases: ['blessed'] } }),
  ],
  onTick: () => [{ kind: 'tick' }, { kind: 'reconcile' }, { kind: 'tick', after: 'us-central1~0' }],
  onCommand: ({ rollout }) => [
    ...['pause', 'resume', 'abort', 'promote', 'promote-full', 'approve', 'retry'].map((command) => ({
      command,
      endpoint,
    })),
    { command: 'pause', rollout, reason: 'look', by: 'ana', commandId: 'c-1' },
    { command: 'retry', rollout },
  ],
  onIncident: () => [
    incident('open', { endpoint_id: '1', location: 'us-central1' }),
    incident('open', { endpoint_id: '1' }),
    incident('closed', { endpoint_id: '1' }),
  ],
  onEvidence: ({ canary }) => [
    { endpoint, window, source: 'proxy-1', variants: { [canary]: counts, 1: counts } },
    { endpoint, window, source: 'p', variants: { [canary]: { ...counts, requests: 1000, errors: 900 }, 1: counts } },
    ...[21, 22, 23].map((second) => ({
      endpoint,
      window: {
        from: new Date(startAt + second * 1000).toISOString(),
        to: new Date(startAt + (second + 1) * 1000).toISOString(),
      },
      source: 'p',
      variants: { [canary]: enormous, 1: enormous },
    })),
    {
      endpoint,
      window,
      source: 'p',
      variants: {
        [canary]: { signals: { complaints: { hits: 1, trials: 10 }, tokens: { bounds: [1], counts: [1, 1] } } },
        1: { ...counts, predictions: { bounds: [0.1, 0.5], counts: [1, 2, 3] } },
        unattributed: counts,
      },
    },
  ],
};

interface Ids {
  canary: string;
  rollout: string;
}

const handlers: Record<string, Handler> = { onBlessing, onTick, onCommand, onIncident, onEvidence };

/** The doors of the five event functions. */
export async function eventDoors(): Promise<Door<Delivery[]>[]> {
  const scene = await sceneWith([endpoint]);
  return Object.entries(handlers).map(([name, handler]) => eventDoor(name, handler, scene));
}

/** One of them, with its own handler or another in its place. */
export function eventDoor(name: string, handler: Handler, scene: Scene): Door<Delivery[]> {
  const context = scene.records[0]?.active?.context;
  if (context === undefined) throw new Error('The scene has no rollout');
  const messages = good[name]?.({ canary: context.canaryId, rollout: context.id }) ?? [];
  const one = deliveries(fc.constantFrom(...messages));
  // Some harm takes more than one message.
  const inputs = fc.oneof({ weight: 4, arbitrary: fc.tuple(one) }, { weight: 1, arbitrary: fc.tuple(one, one, one) });
  return { name, inputs, open: () => openEvents(name, handler, scene) };
}

function deliveries(messages: fc.Arbitrary<unknown>): fc.Arbitrary<Delivery> {
  const id = fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 1 }).map(String) },
    { weight: 1, arbitrary: fc.constantFrom('', 'same', 'x'.repeat(5000), '\u{d800}', '🚀'.repeat(500)) },
  );
  const data = fc.oneof(
    { weight: 12, arbitrary: damagedJson(messages).map((text) => Buffer.from(text).toString('base64')) },
    { weight: 2, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('base64')) },
    // Text that nobody encoded, and other things that are no base64.
    { weight: 1, arbitrary: messages.map(jsonOf) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
    { weight: 1, arbitrary: messages.map((value) => Buffer.from(jsonOf(value)).toString('base64url')) },
    { weight: 1, arbitrary: fc.constantFrom(undefined, '', null) },
  );
  const attributes = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(undefined, {}, null) },
    // As attributes, everything is text.
    { weight: 3, arbitrary: messages.map(textValues) },
    { weight: 2, arbitrary: damaged(messages).map((value) => (isRecord(value) ? textValues(value) : value)) },
    {
      weight: 1,
      arbitrary: fc.dictionary(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 300 })),
    },
  );
  const message = fc
    .record({ data, attributes, messageId: id, snake: fc.boolean(), both: fc.boolean() })
    .map(({ messageId, snake, both, ...rest }) => ({
      message: { ...rest, ...(snake || both ? { message_id: messageId } : {}), ...(snake ? {} : { messageId }) },
      subscription: 'projects/demo/subscriptions/door',
    }));
  const wrapped = fc.oneof({ weight: 5, arbitrary: message }, { weight: 1, arbitrary: damaged(message) });
  const event = (type: fc.Arbitrary<unknown>, inner: fc.Arbitrary<unknown>) =>
    fc.record({ id, type, source: fc.constant('//x'), specversion: fc.constant('1.0'), data: inner });
  const audit = event(fc.constant(auditWritten), damaged(messages));
  const called: fc.Arbitrary<Delivery> = fc
    .oneof(
      { weight: 8, arbitrary: event(fc.constant(published), wrapped) },
      { weight: 3, arbitrary: wrapped },
      { weight: 2, arbitrary: audit },
      { weight: 1, arbitrary: damaged(event(fc.constant(published), wrapped), 1) },
      { weight: 1, arbitrary: anyValue },
    )
    .map((one) => ({ via: 'call', event: one }));
  const posted: fc.Arbitrary<Delivery> = fc.oneof(
    { weight: 2, arbitrary: fc.tuple(id, wrapped).map(([ceId, body]) => binary(ceId, body)) },
    { weight: 2, arbitrary: event(fc.constant(published), wrapped).map(structured) },
    { weight: 2, arbitrary: wrapped.map((body) => post('application/json', jsonOf(body))) },
    { weight: 1, arbitrary: damagedJson(wrapped).map((body) => post('application/json', body)) },
    { weight: 1, arbitrary: damaged(event(fc.constant(published), wrapped)).map(structured) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(
          fc.constantFrom('text/plain', 'application/octet-stream', 'application/x-www-form-urlencoded', ';;', ''),
          fc.string({ maxLength: 60 }),
        )
        .map(([type, body]) => post(type, body)),
    },
  );
  return fc.oneof({ weight: 6, arbitrary: called }, { weight: 1, arbitrary: posted });
}

async function openEvents(name: string, handler: Handler, scene: Scene): Promise<OpenDoor<Delivery[]>> {
  let world = await openWorld(scene);
  const fresh = await world.state();
  let state = fresh;
  let calls = 0;
  const lines: Record<string, unknown>[] = [];
  const target = `fuzz-${name}`;
  cloudEvent(target, async (event: unknown) => {
    calls += 1;
    await handler(event, world.wiring);
  });
  let server: Server | null = null;

  async function deliver(input: Delivery): Promise<void> {
    if (input.via === 'call') {
      calls += 1;
      return handler(input.event, world.wiring);
    }
    server ??= await listening(getTestServer(target));
    const { headers, body } = input;
    const response = await fetch(urlOf(server), { method: 'POST', headers, body });
    const text = await response.text();
    if (calls > 0 && response.status !== 204) throw new Error(`The function answered ${response.status}: ${text}`);
  }

  async function admitOne(input: Delivery): Promise<string> {
    calls = 0;
    lines.length = 0;
    world.published.length = 0;
    const before = state;
    const restore = captured(lines);
    try {
      await deliver(input);
    } finally {
      restore();
    }
    // What functions-framework itself refuses never reached us.
    if (calls === 0) return 'refused';
    state = await world.state();
    return verdictOn(name, world, lines, state !== before, input);
  }

  return {
    async admit(inputs) {
      const became: string[] = [];
      for (const input of inputs) became.push(await admitOne(input));
      if (state !== fresh) {
        await world.close();
        world = await openWorld(scene);
        state = fresh;
      }
      return became;
    },
    async close() {
      server?.closeAllConnections();
      server?.close();
      await world.close();
    },
  };
}

/** Exactly one of done, ignored and rejected; what is rejected is kept, with its reason, and has changed nothing. */
async function verdictOn(
  name: string,
  { published: messages, store, endpoints }: FuzzWorld,
  lines: Record<string, unknown>[],
  isChanged: boolean,
  input: Delivery,
): Promise<string> {
  const outcomes = lines.flatMap(({ outcome }) => (typeof outcome === 'string' ? [outcome] : []));
  const [outcome] = outcomes;
  if (outcome === undefined || outcomes.length !== 1)
    throw new Error(`Expected one outcome, got ${outcomes.join() || 'none'}`);
  const letters = messages.filter(({ topic }) => topic === topics.deadLetters);
  if (letters.length !== (outcome === 'rejected' ? 1 : 0))
    throw new Error(`${outcome}, with ${letters.length} dead letters`);
  for (const { message } of letters) {
    const { reason = '', door } = message.attributes;
    if (reason === '' || door !== name)
      throw new Error(`A dead letter without a reason or a door: ${jsonOf(message.attributes)}`);
    for (const [key, value] of Object.entries(message.attributes)) {
      if (Buffer.byteLength(value) > 1024) throw new Error(`Pub/Sub refuses an attribute as long as ${key}`);
      if (!value.isWellFormed()) throw new Error(`Pub/Sub refuses ${key}, which is no UTF-8`);
    }
    if (message.data.length === 0 || message.data.length > limits.messageBytesMax)
      throw new Error('A dead letter without its original');
    if (!isKept(input, message.data)) throw new Error('The dead letter is not the original');
  }
  if (outcome === 'rejected' && isChanged) throw new Error('A rejected message changed something');
  if (lines.some(({ severity }) => severity === 'CRITICAL')) throw new Error(`Logged as critical: ${jsonOf(lines)}`);
  const loggedBytes = lines.reduce((sum, line) => sum + jsonOf(line).length, 0);
  if (loggedBytes > 256 * 1024) throw new Error(`${loggedBytes} bytes were logged; Cloud Logging takes 256 KiB a line`);
  for (const stored of isChanged ? await store.listAll() : []) {
    const parsed = parseRecord(stored.data);
    if (!parsed.success) throw new Error(`A record was written that cannot be read: ${parsed.error.message}`);
    if (jsonOf(stored.data).length > 900_000) throw new Error('A record was written that Firestore would not take');
  }
  for (const { split } of endpoints.values()) {
    if (Object.values(split).reduce((sum, share) => sum + share, 0) !== 100)
      throw new Error(`A split of ${jsonOf(split)}`);
    const canary = Object.entries(split).reduce((sum, [id, share]) => (id === '1' ? sum : sum + share), 0);
    const mayRaise = name === 'onCommand' || name === 'onTick';
    if (canary > 10 && !mayRaise) throw new Error(`The canary's share rose to ${canary}`);
  }
  return isChanged && outcome !== 'done' ? `${outcome}, noted` : outcome;
}

/** Whether the beginning of what was sent can be found in what was kept. */
function isKept(input: Delivery, kept: Uint8Array): boolean {
  const { event } = input.via === 'call' ? input : { event: null };
  const isCloudEvent = isRecord(event) && typeof event['id'] === 'string' && typeof event['type'] === 'string';
  const push = isCloudEvent ? event['data'] : event;
  const data = isRecord(push) && isRecord(push['message']) ? push['message']['data'] : null;
  // Of what is too large the beginning is kept, which data need not be in.
  const isClipped = kept.length === limits.messageBytesMax;
  if (typeof data !== 'string' || data === '' || isClipped) return true;
  const sent = Buffer.from(data, 'base64').subarray(0, limits.messageBytesMax);
  const isBase64 = /^[\w+/-]*=*$/.test(data);
  // What was no message is kept whole, as JSON.
  return (isBase64 && sent.equals(kept)) || Buffer.from(kept).includes(jsonOf(data).slice(1, 1000).slice(0, -1));
}

function logEntry(method: string, request: object): object {
  return {
    insertId: 'i-1',
    timestamp: soon,
    operation: { first: true, last: true },
    protoPayload: {
      methodName: `google.cloud.aiplatform.v1.ModelService.${method}`,
      resourceName: `${parent}/models/delays`,
      authenticationInfo: { principalEmail: 'ci@demo' },
      status: {},
      request,
    },
  };
}

function incident(state: string, labels: object): object {
  return {
    version: '1.2',
    incident: { incident_id: '0.abc', state, summary: 'too slow', policy_name: 'p', resource: { labels } },
  };
}

function textValues(value: unknown): Record<string, string> {
  const entries = isRecord(value) ? Object.entries(value) : [];
  return Object.fromEntries(entries.map(([key, one]) => [key, typeof one === 'string' ? one : jsonOf(one)]));
}

function post(type: string, body: string, more: Record<string, string> = {}): Delivery {
  return { via: 'http', headers: { 'content-type': type, ...more }, body };
}

function binary(id: string, body: unknown): Delivery {
  const isHeader = /^[\x21-\x7e]{1,1000}$/.test(id);
  const ce = { 'ce-specversion': '1.0', 'ce-id': isHeader ? id : '1', 'ce-type': published, 'ce-source': '//x' };
  return post('application/json', jsonOf(body), ce);
}

function structured(event: unknown): Delivery {
  return post('application/cloudevents+json', jsonOf(event));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function listening(server: Server): Promise<Server> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function urlOf(server: Server): string {
  const port = portOf(server);
  return `http://127.0.0.1:${port}/projects/demo/topics/any`;
}
