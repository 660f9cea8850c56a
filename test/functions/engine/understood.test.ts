/** What does the engine make of every kind of message and environment, and what does it say of those that are wrong? */
import { expect, it } from 'vitest';
import type { z } from 'zod';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import {
  blessingMessageSchema,
  commandMessageSchema,
  commandNames,
  evidenceMessageSchema,
  incidentMessageSchema,
  logEntrySchema,
  tickMessageSchema,
} from '../../../functions/engine/messages.ts';
import type { BusPort, OutgoingMessage } from '../../../functions/engine/ports.ts';
import { problemsOf } from '../../../functions/engine/problems.ts';
import { sendDeadLetter } from '../../../functions/engine/publish.ts';
import { endpoint, model } from '../../simulation/laboratory.ts';

const longs = { long: 'x'.repeat(1000), tooLong: 'x'.repeat(1001) };
const counted = { requests: 1, errors: 0, latencyMs: { bounds: [10], counts: [1, 0] } };
const window = { from: '2026-03-02T09:45:00Z', to: '2026-03-02T09:45:05+01:00' };

const inputs: Record<string, [schema: z.ZodType, values: unknown[]]> = {
  blessings: [
    blessingMessageSchema,
    [
      {},
      null,
      { model },
      { model, versionId: 7 },
      { model: `${model}@7` },
      { model, versionId: '007' },
      { model, versionId: '1'.repeat(19) },
      { model, versionId: '1'.repeat(20) },
      { model, versionId: 'x7' },
      { model, versionId: '7x' },
      { model, versionId: 1.5 },
      { model: 'm', versionId: '7' },
      { model: `${model}@x`, versionId: '7' },
      {
        model,
        versionId: '7',
        eventId: longs.long,
        endpoint,
        policy: 'p',
        by: 'ann',
        blessedAt: '2026-03-02T09:45:00Z',
      },
      { model, versionId: '7', eventId: '', endpoint: 'e', policy: longs.tooLong, blessedAt: 'yesterday' },
    ],
  ],
  commands: [
    commandMessageSchema,
    [
      {},
      { command: 'pause' },
      { command: 'stop', endpoint },
      ...commandNames.map((name) => ({ command: name, endpoint })),
      { command: 'pause', rollout: 'r', reason: '', by: 'ann', commandId: 'c' },
      { command: 'pause', rollout: '', reason: longs.tooLong },
      { command: 'pause', rollout: 'r', reason: longs.long },
      { command: 'pause', endpoint: 'e' },
    ],
  ],
  evidence: [
    evidenceMessageSchema,
    [
      {},
      { endpoint, window, source: 'shop', variants: {} },
      { endpoint, window: { from: window.from, to: '2026-03-02T09:45:05Z' }, source: 'shop', variants: { 7: counted } },
      {
        endpoint: 'e',
        window: { from: window.from, to: window.from },
        source: 'monitoring',
        variants: { ['x'.repeat(65)]: counted },
      },
      {
        endpoint,
        window: { from: window.from, to: '2026-03-02T09:45:05Z' },
        source: longs.long.slice(800),
        variants: { ['x'.repeat(64)]: { ...counted, requests: 1e12 } },
      },
      {
        endpoint,
        window: { from: window.from, to: '2026-03-02T09:45:05Z' },
        source: longs.long.slice(799),
        variants: {
          7: { ...counted, errors: 2 },
          8: { ...counted, latencyMs: { bounds: [1], counts: [1e12, 0] } },
          9: { ...counted, requests: -1 },
        },
      },
      {
        endpoint,
        window: { from: window.from, to: '2026-03-02T09:45:05Z' },
        source: '',
        variants: {
          7: { signals: { a: { hits: 1, trials: 1 }, ['x'.repeat(64)]: { hits: 1, trials: 2 } } },
          8: { signals: { ['x'.repeat(65)]: { hits: 1, trials: 2 } } },
        },
      },
    ],
  ],
  incidents: [
    incidentMessageSchema,
    [
      {},
      { incident: { incident_id: 'i', state: 'open' } },
      { incident: { incident_id: '', state: 7 } },
      {
        incident: {
          incident_id: 'i',
          state: 'open',
          summary: longs.tooLong,
          policy_name: longs.tooLong,
          resource: { labels: { endpoint_id: '1' } },
          more: 1,
        },
      },
      { incident: { incident_id: 'i', state: 'open', summary: null, policy_name: null, resource: { labels: null } } },
      { incident: { incident_id: 'i', state: 'open', resource: null } },
    ],
  ],
  ticks: [
    tickMessageSchema,
    [
      {},
      { kind: 'tick' },
      { kind: 'reconcile', after: 'us-central1~456' },
      { kind: 'tock' },
      { kind: 'tick', after: 'us-central1' },
      { kind: 'tick', after: ' us-central1~4' },
      { kind: 'tick', after: 'us-central1~4 ' },
      { kind: 'tick', after: `us~${'1'.repeat(197)}` },
      { kind: 'tick', after: `us~${'1'.repeat(198)}` },
    ],
  ],
  logs: [
    logEntrySchema,
    [
      {},
      { insertId: 'i', protoPayload: { methodName: 'm' } },
      {
        insertId: 'i',
        timestamp: window.to,
        operation: {},
        protoPayload: {
          methodName: 'm',
          resourceName: 'r',
          authenticationInfo: {},
          status: {},
          request: { a: 1 },
          response: { b: 2 },
        },
      },
      {
        insertId: 'i',
        timestamp: 'x',
        operation: { first: 1 },
        protoPayload: { methodName: 'm', status: { code: '1' }, request: 7 },
      },
    ],
  ],
};

it('messages are understood so, and what is wrong with them is said in these words', async () => {
  const lines: string[] = [];
  const say = (line: string) => void lines.push(named(line));
  for (const [name, [schema, values]] of Object.entries(inputs)) {
    for (const value of values) {
      const parsed = schema.safeParse(value);
      say(`${name} ${clipped(JSON.stringify(value))}`);
      say(`  → ${clipped(parsed.success ? JSON.stringify(parsed.data) : problemsOf(parsed.error))}`);
    }
  }
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [i, {}]));
  const { error } = evidenceMessageSchema.safeParse({
    endpoint,
    window: { ...window, to: '2026-03-02T09:45:05Z' },
    source: 's',
    variants: many,
  });
  if (error !== undefined) say(problemsOf(error));
  const bus: BusPort = {
    publish: (topic: string, sent: OutgoingMessage[]) => {
      for (const { data, attributes } of sent)
        say(`  ${topic} ${JSON.stringify(attributes)} ${Buffer.from(data).toString()}`);
      return Promise.resolve();
    },
  };
  for (const data of ['', '{"a":1}', 'é'.repeat(600_000)]) {
    await sendDeadLetter(bus, {
      data: Buffer.from(data),
      reason: 'é'.repeat(501),
      door: 'onTick',
      messageId: 'm'.repeat(1001),
    });
  }
  await expect(`${lines.map(clipped).join('\n')}\n`).toMatchFileSnapshot('understood-messages.golden');
});

/** With names in the place of long ones. */
function named(line: string): string {
  return line.replaceAll(endpoint, 'ENDPOINT').replaceAll(model, 'MODEL');
}

function clipped(line: string): string {
  return line.replaceAll(/(.)\1{9,}/gs, (run, char: string) => `${char}(${run.length})`);
}

const good = { GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'us-central1' };
const key = `a:${'0'.repeat(64)}`;
const environments: Record<string, string>[] = [
  {},
  good,
  { GOOGLE_CLOUD_PROJECT: '', ROLLOUT_LOCATION: '', ROLLOUT_STORE: '' },
  { GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'US Central' },
  {
    ...good,
    ROLLOUT_STORE: 'sqlite:/tmp/x',
    ROLLOUT_POLICIES: '/p',
    ROLLOUT_TICK_JOB: 'job',
    ROLLOUT_PROXY_CONFIG: '/c',
    REDIS_URL: 'redis://localhost:1',
  },
  { ...good, ROLLOUT_STORE: 'sqlite:', REDIS_URL: 'x', ROLLOUT_PROXY_KEYS: 'a:b' },
  { ...good, ROLLOUT_STORE: 'my firestore', ROLLOUT_PROXY_KEYS: `${key},${key.replace('a', 'b')}` },
  { ...good, ROLLOUT_PROXY_KEYS: ` ${key}` },
  { ...good, ROLLOUT_PROXY_KEYS: `${key},` },
  ...['PUBSUB', 'FIRESTORE', 'VERTEX', 'VERTEX_PREDICT', 'MONITORING', 'SCHEDULER', 'BIGQUERY'].flatMap((name) => [
    { ...good, [`${name}_EMULATOR_HOST`]: 'localhost:8085' },
    { ...good, [`${name}_EMULATOR_HOST`]: 'http://localhost:8085' },
    { ...good, [`${name}_EMULATOR_HOST`]: 'localhost:8085 ' },
  ]),
];

it('an environment is understood so, and refused in these words', async () => {
  const lines: string[] = [];
  const say = (line: string) => void lines.push(named(line));
  for (const environment of environments) {
    say(JSON.stringify(environment));
    try {
      say(`  → ${JSON.stringify(parseEnvironment(environment))}`);
    } catch (error) {
      say(`  → ${String(error)}`);
    }
  }
  await expect(`${lines.map(clipped).join('\n')}\n`).toMatchFileSnapshot('understood-environment.golden');
});
