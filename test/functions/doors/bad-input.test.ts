/**
 * What becomes of a message that nobody can understand? It is kept once, as it came and with the reason, and
 * acknowledged: a redelivery would not heal it. What a redelivery heals is left to one.
 */
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import { type Door, doorNames, type Doors, openDoors, parent } from './doors-world.ts';
import { captureLog } from '../../log.ts';
import { auditWritten, binary, json, type Post, type Sent, shapeNames, structured } from './shapes.ts';

let doors: Doors;
let serial = 0;
const logged = captureLog();

beforeAll(async () => {
  doors = await openDoors();
  await doors.subject('known');
});

afterAll(() => doors.close());

/** `known` is a model, an endpoint and a policy; nothing is rolled out there. */
const model = `${parent}/models/known`;
const endpoint = `${parent}/endpoints/known`;
const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
const count = { requests: 1, errors: 0, latencyMs: { bounds: [], counts: [1] } };
const window = { from: '2026-01-01T00:00:00Z', to: '2026-01-01T00:00:05Z' };

async function theOnlyLetter() {
  const letters = await doors.deadLetters();
  expect(letters).toHaveLength(1);
  return letters[0];
}

async function expectKept(door: Door, sent: Sent, reason: string | RegExp): Promise<void> {
  const letter = await theOnlyLetter();
  const original = sent.data ?? JSON.stringify(sent.attributes ?? {});
  expect(letter?.data.toString('latin1')).toBe(Buffer.from(original).toString('latin1'));
  expect(letter?.attributes).toEqual({
    reason: expect.stringMatching(reason),
    door,
    messageId: sent.messageId,
  });
}

const anyDoor: [string, Omit<Sent, 'messageId'>, string | RegExp][] = [
  ['JSON that breaks off', { data: '{"command":' }, /^the data is not JSON/],
  ['text', { data: 'hello' }, /^the data is not JSON/],
  ['bytes that are no UTF-8', { data: Uint8Array.from([0x7b, 0xff, 0xfe, 0x7d]) }, /^the data is not JSON/],
  ['a list', { data: '[{}]' }, 'the data is JSON, but not an object'],
  ['a number', { data: '7' }, 'the data is JSON, but not an object'],
  ['null', { data: 'null' }, 'the data is JSON, but not an object'],
  ['lists in lists in lists', { data: '['.repeat(1e5) + ']'.repeat(1e5) }, 'the data is JSON, but not an object'],
  ['objects in objects in objects', { data: nested(3e4) }, /./],
  ['nothing', {}, 'the message is empty'],
  ['an empty object', { data: '{}' }, /./],
  ['attributes of no meaning', { attributes: { colour: 'blue' } }, /./],
  ['keys of every prototype', { data: '{"__proto__":{"kind":"tick"},"constructor":{"prototype":{"kind":"x"}}}' }, /./],
];

describe.for(doorNames)('%s keeps once and acknowledges', (door) => {
  it.for(anyDoor)('%s', async ([, words, reason]) => {
    const sent = { messageId: `bad-${(serial += 1)}`, ...words };
    expect(await doors.send(door, sent)).toBe(204);
    await expectKept(door, sent, reason);
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it('the beginning of what is too large', async () => {
    const data = JSON.stringify({ command: 'x'.repeat(limits.messageBytesMax) });
    expect(await doors.send(door, { messageId: 'large', data })).toBe(204);
    const letter = await theOnlyLetter();
    expect(letter?.data.toString()).toBe(data.slice(0, limits.messageBytesMax));
    expect(letter?.attributes).toMatchObject({ reason: expect.stringMatching(/262158 bytes; at most 262144/) });
  });
});

const blessing = (change: object) => JSON.stringify({ model, versionId: '2', ...change });
const evidence = (change: object) =>
  JSON.stringify({ endpoint, window, source: 'p', variants: { 1: count }, ...change });

const byDoor: [Door, string, string, string | RegExp][] = [
  ['onBlessing', 'an unknown model', blessing({ model: `${model}-x` }), /Version 2 of .*known-x does not exist/],
  ['onBlessing', 'a version that does not exist', blessing({ versionId: '9' }), /Version 9 of .* does not exist/],
  [
    'onBlessing',
    'a model in another project',
    blessing({ model: model.replace('demo-project', 'other') }),
    /in project other; this controller serves demo-project/,
  ],
  [
    'onBlessing',
    'a model that is none',
    blessing({ model: 'known' }),
    'model: expected projects/P/locations/L/models/M',
  ],
  ['onBlessing', 'no version', blessing({ versionId: undefined }), /versionId: is required/],
  ['onBlessing', 'an alias as version', blessing({ versionId: 'blessed' }), /versionId: expected a version id/],
  ['onBlessing', 'a version of the wrong type', blessing({ versionId: true }), /versionId: expected a version id/],
  ['onBlessing', 'an unknown policy', blessing({ policy: 'nobody' }), /No policy matches .* under nobody/],
  [
    'onBlessing',
    'an unknown endpoint',
    blessing({ endpoint: `${endpoint}-x` }),
    /No policy matches .*endpoints\/known-x/,
  ],
  [
    'onBlessing',
    'an endpoint that is none',
    blessing({ endpoint: 'e' }),
    'endpoint: expected projects/P/locations/L/endpoints/E',
  ],
  ['onBlessing', 'a moment that is none', blessing({ blessedAt: 'yesterday' }), /blessedAt: /],
  ['onBlessing', 'many mistakes at once', '{"model":1,"by":[],"policy":{}}', /model: .*; .*policy: .*; .*by: /],
  ['onBlessing', 'a log entry without an id', '{"protoPayload":{"methodName":"m"}}', /insertId: /],
  [
    'onBlessing',
    'a log entry of no model',
    '{"insertId":"i","protoPayload":{"methodName":"x.UploadModel"}}',
    'UploadModel names no model',
  ],
  ['onTick', 'an unknown kind', '{"kind":"tock"}', /kind: .*"tick"\|"reconcile"/],
  ['onCommand', 'an unknown command', JSON.stringify({ command: 'puase', endpoint }), /command: .*"pause"\|"resume"/],
  ['onCommand', 'a command of the wrong type', JSON.stringify({ command: 1, endpoint }), /command: /],
  ['onCommand', 'a command to nobody', '{"command":"pause"}', /name an "endpoint" or a "rollout"/],
  ['onCommand', 'an unknown rollout', '{"command":"pause","rollout":"r"}', /There is no rollout r/],
  [
    'onCommand',
    'an endpoint where nothing is rolled out',
    JSON.stringify({ command: 'abort', endpoint }),
    /No rollout on .*known is active/,
  ],
  ['onCommand', 'a retry where nothing has ended', JSON.stringify({ command: 'retry', endpoint }), /nothing to retry/],
  ['onIncident', 'no incident', '{"version":"1.2"}', /incident: /],
  [
    'onIncident',
    'an incident of no endpoint',
    '{"incident":{"incident_id":"i","state":"open"}}',
    /no resource.labels.endpoint_id/,
  ],
  [
    'onEvidence',
    'counts that are none',
    evidence({ variants: { 1: { ...count, requests: '1' } } }),
    /variants\.1\.requests: /,
  ],
  [
    'onEvidence',
    'negative counts',
    evidence({ variants: { 1: { ...count, requests: -1 } } }),
    /variants\.1\.requests: /,
  ],
  [
    'onEvidence',
    'more errors than requests',
    evidence({ variants: { 1: { ...count, errors: 2 } } }),
    /errors cannot exceed/,
  ],
  [
    'onEvidence',
    'a histogram that does not fit',
    evidence({ variants: { 1: { ...count, latencyMs: { bounds: [2, 1], counts: [0, 0, 1] } } } }),
    /bounds must ascend/,
  ],
  [
    'onEvidence',
    'a window that ends first',
    evidence({ window: { from: window.to, to: window.from } }),
    /must end after it begins/,
  ],
  ['onEvidence', 'the name of Monitoring', evidence({ source: 'monitoring' }), /reserved/],
  ['onEvidence', 'an unknown endpoint', evidence({ endpoint: 'known' }), /endpoint: expected/],
];

describe('kept once and acknowledged', () => {
  it.for(byDoor)('%s: %s', async ([door, , data, reason]) => {
    const sent = { messageId: `bad-${(serial += 1)}`, data };
    expect(await doors.send(door, sent)).toBe(204);
    await expectKept(door, sent, reason);
    expect(logged.some((line) => line.includes('"ERROR"') && line.includes(sent.messageId))).toBe(true);
  });

  it.for(shapeNames)('in the form of a %s, of attributes alone too', async (shape) => {
    const data = { messageId: 'data', data: '{"command":"puase"}' };
    expect(await doors.send('onCommand', data, shape)).toBe(204);
    await expectKept('onCommand', data, /command: /);
    const attributes = { messageId: 'attributes', attributes: { command: 'puase', endpoint } };
    expect(await doors.send('onCommand', attributes, shape)).toBe(204);
    await expectKept('onCommand', attributes, /command: /);
    const empty = { messageId: 'empty' };
    expect(await doors.send('onCommand', empty, shape)).toBe(204);
    await expectKept('onCommand', empty, 'the message is empty');
  });

  const envelopes: [string, Post, string][] = [
    ['a body of another service', json({ kind: 'storage#object' }), '{"kind":"storage#object"}'],
    [
      'an event of another service',
      binary('e', 'google.cloud.storage.object.v1.finalized', { name: 'o' }),
      '"name":"o"',
    ],
    ['an event without data', structured('e', 'google.cloud.pubsub.topic.v1.messagePublished', undefined), '"id":"e"'],
    ['an audit event that is a list', binary('e', auditWritten, [1]), '[1]'],
    ['an audit event without data', structured('e', auditWritten, undefined), '{}'],
    ['data of the wrong type', json({ message: { data: { a: 1 }, messageId: 'e' } }), '{"a":1}'],
    ['bytes', { headers: { 'content-type': 'application/octet-stream' }, body: 'bytes' }, 'bytes'],
    [
      'a nest',
      { headers: { 'content-type': 'application/json' }, body: `{"message":{"data":${nested(1e5)}}}` },
      'message',
    ],
  ];

  it.for(envelopes)('%s, which is no message at all', async ([, post, kept]) => {
    expect((await doors.post('onBlessing', post)).status).toBe(204);
    const letter = await theOnlyLetter();
    expect(letter?.data.toString()).toContain(kept);
    expect(letter?.attributes['reason']).toMatch(/./);
  });

  it('and not in the way of what follows it', async () => {
    const { endpoint: busy } = await doors.subject('busy');
    await doors.send('onBlessing', { messageId: 'busy', data: blessing({ model: `${parent}/models/busy` }) });
    await doors.notifications();
    const topic = (await doors.clients.pubsub()).topic('rollout-commands');
    const [subscription] = await topic.createSubscription('commands', { pushEndpoint: doors.urlOf('onCommand') });
    await topic.publishMessage({ json: { command: 'puase', endpoint: busy } });
    await topic.publishMessage({ json: { command: 'abort', endpoint: busy } });
    await doors.nextNotification('aborted');
    expect((await theOnlyLetter())?.data.toString()).toBe(JSON.stringify({ command: 'puase', endpoint: busy }));
    await subscription.delete();
  });
});

describe('refused to the caller, and not kept', () => {
  it.for([
    ['JSON that breaks off', 'application/json', '{"message":', 400],
    ['a CloudEvent that breaks off', 'application/cloudevents+json', '{"data":', 400],
    ['text', 'text/plain', 'hello', 500],
  ] as const)('%s', async ([, type, body, status]) => {
    expect((await doors.post('onBlessing', { headers: { 'content-type': type }, body })).status).toBe(status);
    expect(await doors.deadLetters()).toEqual([]);
  });
});

describe('an outage is answered with an error, so that the message comes again:', () => {
  it('of Vertex AI, as Pub/Sub sees it', async () => {
    const blessed = await doors.subject('outage-vertex');
    const topic = (await doors.clients.pubsub()).topic('model-blessings');
    const [subscription] = await topic.createSubscription('blessings', { pushEndpoint: doors.urlOf('onBlessing') });
    await doors.notifications();
    await doors.faults([{ method: '*ModelService/GetModel', code: 'UNAVAILABLE', times: 2 }]);
    await topic.publishMessage({ json: { model: blessed.model, versionId: '2' } });
    expect(await doors.nextNotification('started')).toMatchObject({ data: { model: blessed.model } });
    expect(await doors.deadLetters()).toEqual([]);
    await subscription.delete();
  });

  it('of Vertex AI, as HTTP sees it', async () => {
    const blessed = await doors.subject('outage-http');
    const data = blessing({ model: blessed.model });
    await doors.faults([{ method: '*ModelService/GetModel', code: 'UNAVAILABLE', times: 1 }]);
    expect(await doors.send('onBlessing', { messageId: 'v', data })).toBe(500);
    expect(await doors.deadLetters()).toEqual([]);
    expect(await doors.send('onBlessing', { messageId: 'v', data })).toBe(204);
  });

  it('of the scheduler: the rollout has begun, and the second try wakes the ticks', async () => {
    const blessed = await doors.subject('outage-scheduler');
    const data = JSON.stringify({ model: blessed.model, versionId: '2' });
    await (await doors.clients.scheduler()).pauseJob({ name: doors.tickJobName });
    await doors.faults([{ method: '*CloudScheduler/ResumeJob', code: 'UNAVAILABLE', times: 1 }]);
    expect(await doors.send('onBlessing', { messageId: 's', data })).toBe(500);
    const { context } = await doors.active(blessed);
    expect(await doors.send('onBlessing', { messageId: 's', data })).toBe(204);
    expect(await doors.tickJob()).toBe('ENABLED');
    expect((await doors.active(blessed)).context.id).toBe(context.id);
  });

  it('of the store', async () => {
    const blessed = await doors.subject('outage-store');
    const data = JSON.stringify({ model: blessed.model, versionId: '2' });
    const other = new DatabaseSync(doors.storePath);
    other.exec('BEGIN IMMEDIATE');
    expect(await doors.send('onBlessing', { messageId: 'd', data })).toBe(500);
    other.exec('ROLLBACK');
    other.close();
    expect(await doors.deadLetters()).toEqual([]);
    expect(await doors.send('onBlessing', { messageId: 'd', data })).toBe(204);
    expect((await doors.active(blessed)).context.versionId).toBe('2');
  });

  it('of Pub/Sub: what cannot be kept is not acknowledged', async () => {
    const sent = { messageId: 'p', data: 'hello' };
    await doors.faults([{ method: '*Publisher/Publish', code: 'PERMISSION_DENIED', times: 1 }]);
    expect(await doors.send('onBlessing', sent)).toBe(500);
    expect(await doors.send('onBlessing', sent)).toBe(204);
    await expectKept('onBlessing', sent, /not JSON/);
  });
});
