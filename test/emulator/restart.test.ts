import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { PubSub } from '@google-cloud/pubsub';
import { PassThroughClient } from 'google-auth-library';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { createProcessGuard, killLeftovers } from '../../emulator/process-guard.ts';
import { startEmulator } from '../../emulator/start.ts';
import { createEndpoint, deploy, googleClients, post, project, uploadVersion } from './google-clients.ts';

const main = fileURLToPath(new URL('../../emulator/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'emulator-test-'));
const started: ChildProcessWithoutNullStreams[] = [];
const anyPorts = ['vertex', 'predict', 'monitoring', 'scheduler', 'pubsub', 'control'].flatMap((s) => [
  `--${s}-port`,
  '0',
]);

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(...args: string[]): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [main, ...args]);
  started.push(child);
  return child;
}

interface Ready {
  ports: Record<'vertex' | 'predict' | 'monitoring' | 'scheduler' | 'pubsub' | 'control', number>;
  environment: Record<string, string>;
}

async function ready(child: ChildProcessWithoutNullStreams): Promise<Ready> {
  const lines = createInterface({ input: child.stdout });
  const [line] = await once(lines, 'line');
  return JSON.parse(String(line));
}

async function output(child: ChildProcessWithoutNullStreams): Promise<{ exitCode: unknown; out: string; err: string }> {
  let out = '';
  let err = '';
  child.stdout.on('data', (data) => (out += String(data)));
  child.stderr.on('data', (data) => (err += String(data)));
  const [exitCode] = await once(child, 'close');
  return { exitCode, out, err };
}

function isRunning(pid: number): boolean {
  try {
    // A zombie that nobody waits for has ended as well.
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Brings an emulator to one endpoint that serves. */
async function serve(emulator: Ready): Promise<string> {
  const clients = googleClients(emulator);
  const endpoint = await createEndpoint(clients, '5001');
  await uploadVersion(clients, 'echo');
  await deploy(clients, endpoint, '11', 'echo@1', { 0: 100 });
  await clients.close();
  return endpoint;
}

const savedPids = (file: string): number[] => JSON.parse(readFileSync(file, 'utf8')).containers.pids;

test('the state survives a restart, and deployed models serve again', async () => {
  const stateFile = join(folder, 'restart.json');
  const first = await startEmulator({ timeScale: 3600, stateFile });
  const endpoint = await serve({ ...first, environment: {} });
  const clientOf = ({ hosts }: typeof first) =>
    new PubSub({
      projectId: project,
      apiEndpoint: hosts.pubsub,
      emulatorMode: true,
      authClient: new PassThroughClient(),
    });
  const pubsub = clientOf(first);
  await pubsub.createTopic('model-blessings');
  await pubsub.close();
  await first.close();

  const second = await startEmulator({ timeScale: 3600, stateFile });
  const clients = googleClients(second);
  const [found] = await clients.endpoints.getEndpoint({ name: endpoint });
  expect(found).toMatchObject({ trafficSplit: { 11: 100 }, deployedModels: [{ id: '11' }] });
  await expect
    .poll(async () => (await post(second, endpoint, 'predict', { instances: [{}] })).status, { timeout: 20_000 })
    .toBe(200);
  const [topics] = await clientOf(second).getTopics();
  expect(topics.map(({ name }) => name)).toEqual([`projects/${project}/topics/model-blessings`]);
  await clients.close();
  await second.close();
});

describe('no container outlives the emulator', () => {
  test.each([
    ['SIGTERM', 0],
    ['SIGINT', 0],
    ['SIGKILL', null],
  ] as const)('that ends by %s', async (signal, expected) => {
    const stateFile = join(folder, `${signal}.json`);
    const child = run(...anyPorts, '--time-scale', '3600', '--state', stateFile, '--quiet');
    await serve(await ready(child));
    await expect.poll(() => savedPids(stateFile).length, { timeout: 10_000 }).toBe(1);
    const [pid = 0] = savedPids(stateFile);
    expect(isRunning(pid)).toBe(true);
    child.kill(signal);
    const [exitCode] = await once(child, 'close');
    expect(exitCode).toBe(expected);
    await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false);
  });

  test('even if it heeds neither its input nor a polite signal', async () => {
    const script = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')";
    const guard = createProcessGuard();
    const stubborn = guard.start(process.execPath, ['-e', script], {});
    if (stubborn.stdout === null) throw new Error('Expected a pipe.');
    await once(stubborn.stdout, 'data');
    guard.close();
    await once(stubborn, 'exit');
    expect(stubborn.signalCode).toBe('SIGKILL');
  });

  test('and what a state file names is killed only if it carries the mark', async () => {
    const guard = createProcessGuard();
    const child = guard.start(process.execPath, ['-e', "setInterval(() => {}, 1000); console.log('up')"], {});
    if (child.stdout === null) throw new Error('Expected a pipe.');
    await once(child.stdout, 'data');
    const { mark, pids } = guard.running();
    expect(killLeftovers({ mark: 'another', pids })).toEqual([]);
    expect(killLeftovers({ mark, pids: [process.pid] })).toEqual([]);
    const exit = once(child, 'exit');
    expect(killLeftovers({ mark, pids })).toEqual(pids);
    await exit;
    guard.close();
  });
});

describe('the command line', () => {
  test('says where everything is', async () => {
    const child = run(...anyPorts, '--time-scale', '60');
    const { ports, environment } = await ready(child);
    expect(environment).toMatchObject({
      VERTEX_EMULATOR_HOST: `127.0.0.1:${ports.vertex}`,
      VERTEX_PREDICT_EMULATOR_HOST: `127.0.0.1:${ports.predict}`,
      PUBSUB_EMULATOR_HOST: `127.0.0.1:${ports.pubsub}`,
    });
    const answer = await fetch(`http://127.0.0.1:${ports.control}/healthz`);
    expect(answer.status).toBe(200);
  });

  test('explains itself', async () => {
    const { exitCode, out } = await output(run('--help'));
    expect(exitCode).toBe(0);
    expect(out).toContain('--time-scale');
  });

  test.each([
    ['an unknown option', ['--speed', '3'], '--speed'],
    ['a time scale of nothing', [...anyPorts, '--time-scale', '0'], 'time scale'],
    ['a state file that cannot be written', [...anyPorts, '--state', '/no/such/folder/state.json'], '/no/such/folder'],
    ['a port that is none', ['--vertex-port', 'abc'], '--vertex-port'],
  ])('refuses %s in one message', async (_, args, expected) => {
    const { exitCode, err } = await output(run(...args));
    expect(exitCode).toBe(2);
    expect(err).toContain(expected);
    expect(err).not.toContain('    at ');
  });

  test.each(['vertex', 'predict', 'pubsub'])('refuses a %s port that is taken', async (service) => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const address = holder.address();
    const port = String(typeof address === 'object' ? address?.port : '');
    const { exitCode, err } = await output(run(...anyPorts, `--${service}-port`, port));
    holder.close();
    expect(exitCode).toBe(2);
    expect(err).toContain(`127.0.0.1:${port}: it is taken`);
  });

  test('refuses a state file that is none, and leaves it alone', async () => {
    const file = join(folder, 'broken.json');
    writeFileSync(file, '{"version":7}');
    const { exitCode, err } = await output(run(...anyPorts, '--state', file));
    expect(exitCode).toBe(2);
    expect(err).toContain(file);
    expect(readFileSync(file, 'utf8')).toBe('{"version":7}');
  });
});
