/** Does the proxy as a process of its own start, stop and face strangers as it must? Under functions-framework and without. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { PubSub } from '@google-cloud/pubsub';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { topics } from '../../functions/engine/publish.ts';
import { type Clients, googleClients } from '../../functions/gcp/clients.ts';
import { policyText } from './doors/doors-world.ts';
import {
  goodKey,
  healthyModel,
  type Listening,
  listen,
  longPath,
  type Received,
  servedBySeven,
} from './proxy/proxy-world.ts';
import { freePort } from '../port.ts';

const framework = ['node_modules/@google-cloud/functions-framework/build/src/main.js', '--source=functions/index.ts'];
const ways = [
  { name: 'functions-framework', args: framework },
  { name: 'node:http', args: ['functions/serve-predict-http.ts'] },
];

let folder: string;
let emulator: RunningEmulator;
let clients: Clients;
let pubsub: PubSub;
let upstream: Listening;
let answer: (received: Received, end: () => void) => void = (_, end) => end();
const running = new Set<ChildProcess>();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'proxy-process-'));
  const model = 'projects/demo/locations/us-central1/models/delays';
  writeFileSync(
    join(folder, 'delays.yaml'),
    policyText({ name: 'delays', model, endpoint: longPath.slice('/v1/'.length) }),
  );
  emulator = await startEmulator({ timeScale: 60 });
  const environment = { GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'us-central1' };
  clients = googleClients(parseEnvironment({ ...environment, PUBSUB_EMULATOR_HOST: emulator.hosts.pubsub }));
  pubsub = await clients.pubsub();
  await pubsub.createTopic(topics.evidence);
  upstream = await listen((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const received = {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: Buffer.concat(chunks),
      };
      answer(received, () => void healthyModel(received, response));
    });
  });
}, 30_000);

afterAll(async () => {
  for (const child of running) child.kill('SIGKILL');
  await clients.close();
  await upstream[Symbol.asyncDispose]();
  await emulator.close();
  rmSync(folder, { recursive: true });
});

interface Proxy {
  child: ChildProcess;
  origin: string;
  output: () => string;
}

async function launch(args: string[], env: Record<string, string> = {}): Promise<Proxy> {
  const port = await freePort();
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      FUNCTION_TARGET: 'predict',
      PORT: String(port),
      GOOGLE_CLOUD_PROJECT: 'demo',
      ROLLOUT_LOCATION: 'us-central1',
      ROLLOUT_STORE: `sqlite:${join(folder, 'store.sqlite')}`,
      ROLLOUT_POLICIES: folder,
      ROLLOUT_PROXY_KEYS: `partner:${createHash('sha256').update(goodKey).digest('hex')}`,
      PUBSUB_EMULATOR_HOST: emulator.hosts.pubsub,
      VERTEX_PREDICT_EMULATOR_HOST: new URL(upstream.origin).host,
      ...env,
    },
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (text += String(chunk)));
  return { child, origin: `http://127.0.0.1:${port}`, output: () => text };
}

async function start(args: string[], env: Record<string, string> = {}): Promise<Proxy> {
  const proxy = await launch(args, env);
  const isUp = () =>
    fetch(`${proxy.origin}/openapi.json`).then(
      ({ ok }) => ok,
      () => false,
    );
  await expect.poll(isUp, { timeout: 20_000, interval: 50 }).toBe(true);
  return proxy;
}

const post = (origin: string, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
  fetch(`${origin}${longPath}:rawPredict`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', 'x-goog-api-key': goodKey, ...headers },
  });

describe.each(ways)('on $name', ({ args }) => {
  it('SIGTERM lets a running request finish, the counts arrive, and the process ends by itself', async () => {
    const [topic] = await pubsub.topic(topics.evidence).get();
    const [subscription] = await topic.createSubscription(`seen-${args.length}`);
    const told = once(subscription, 'message');
    const { child, origin } = await start(args);
    const arrived = Promise.withResolvers<() => void>();
    answer = (_received, end) => arrived.resolve(end);
    const pending = post(origin, '{}');
    const end = await arrived.promise;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await expect
      .poll(() =>
        fetch(`${origin}/openapi.json`).then(
          () => 'up',
          () => 'down',
        ),
      )
      .toBe('down');
    expect(child.exitCode).toBeNull();
    end();
    expect(await (await pending).text()).toBe('{"predictions":[0.5]}');
    expect(await ended).toEqual([0, null]);
    const [message] = await told;
    expect(JSON.parse(String(message.data)).variants[servedBySeven['x-vertex-ai-deployed-model-id']].requests).toBe(1);
    message.ack();
    await subscription.close();
  }, 30_000);

  it('no body of a stranger is read, and that of a caller goes on as it came', async () => {
    const { child, origin, output } = await start(args);
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    const encoded = { 'content-encoding': 'gzip' };
    for (const body of [bomb, '{"broken":']) {
      const refused = await post(origin, body, { 'x-goog-api-key': 'wrong', ...(body === bomb ? encoded : {}) });
      expect([refused.status, (await refused.text()).slice(0, 21)]).toEqual([401, '{"error":{"code":401,']);
    }
    const bodies: Buffer[] = [];
    answer = ({ body }, end) => {
      bodies.push(body);
      end();
    };
    expect((await post(origin, gzipSync('{}'), encoded)).status).toBe(200);
    expect((await post(origin, '{"broken":')).status).toBe(200);
    expect([gunzipSync(bodies[0] ?? '').toString(), bodies[1]?.toString()]).toEqual(['{}', '{"broken":']);
    expect(output()).not.toContain('broken');
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  }, 30_000);

  it('a configuration that is not understood keeps it from starting, and the log says all that is wrong', async () => {
    const { child, output } = await launch(args, { ROLLOUT_PROXY_CONFIG: '{"callers":[{"name":"a b"}],"jwks":[]}' });
    const [code] = await once(child, 'exit');
    expect(code).not.toBe(0);
    for (const part of ['ROLLOUT_PROXY_CONFIG', 'callers.0.name', 'callers.0.endpoints', 'jwks']) {
      expect(output()).toContain(part);
    }
  }, 30_000);
});
