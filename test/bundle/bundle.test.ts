/** Does what is deployed start, answer, and carry no more than it needs? Each function's bundle, as the platform would start it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCold, type Subject } from '../bench/coldstart/process.ts';
import { firstRequests, openWorld } from '../bench/coldstart/world.ts';
import { bundle, doors } from '../bundle.ts';
import { withFirestoreEmulator } from '../emulators.ts';
import { listen } from '../functions/proxy/proxy-world.ts';
import { framework } from './framework.ts';
import { startProcess, unpack } from './process.ts';
import { zipOf } from './zip.ts';

const names = [...doors.keys()];
const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
const subjects = new Map<string, Subject>();

beforeAll(async () => {
  for (const name of names) {
    const request = firstRequests[name];
    if (request === undefined) throw new Error(`Expected a first request for ${name} in bench/coldstart/world.ts`);
    subjects.set(name, { ...(await unpack(join(folder, name), name)), request });
  }
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true }));

function subjectOf(name: string): Subject {
  const subject = subjects.get(name);
  if (subject === undefined) throw new Error(`Expected one of ${names.join(', ')}, got ${name}`);
  return subject;
}

/** What a bundle's own files hold, by their names. */
function filesOf(name: string): Map<string, string> {
  const { folder: at } = subjectOf(name);
  const files = readdirSync(at).filter((file) => file.endsWith('.mjs'));
  return new Map(files.map((file) => [file, readFileSync(join(at, file), 'utf8')]));
}

/** The services that a bundle describes to Google's clients, by their hosts: `aiplatform` for Vertex AI. */
function servicesOf(name: string): Map<string, string[]> {
  const services = new Map<string, string[]>();
  for (const text of filesOf(name).values()) {
    const described = [...text.matchAll(/\b([A-Z]\w+):\{(?:options:\{[^{}]*\},)?methods:\{/g)].map(
      ([, service = '']) => service,
    );
    const [, host = ''] = /default_host\)":"([\w-]+)\.googleapis\.com"/.exec(text) ?? [];
    if (described.length > 0) services.set(host, [...(services.get(host) ?? []), ...described].toSorted());
  }
  return services;
}

withFirestoreEmulator('a bundle', (emulator) => {
  describe('in a world where nothing is rolled out', () => {
    let environment: Record<string, string>;
    const stack = new AsyncDisposableStack();

    beforeAll(async () => {
      ({ environment } = await openWorld(stack, emulator.host));
    });
    afterAll(() => stack.disposeAsync());

    test.each(names)('%s starts and answers', async (name) => {
      expect(await startCold(subjectOf(name), environment)).toMatchObject({ answerMs: expect.any(Number) });
    });

    test('a tick that finds nothing active loads no client of Vertex AI', async () => {
      const { folder: at } = subjectOf('onTick');
      const clients = [...filesOf('onTick')].filter(([file]) =>
        /^(endpoint|model|job|model_monitoring)_service_client/.test(file),
      );
      expect(clients.map(([file]) => String(file.split('-', 1)[0])).toSorted()).toEqual([
        'endpoint_service_client',
        'job_service_client',
        'model_monitoring_service_client',
        'model_service_client',
      ]);
      for (const [file] of clients) rmSync(join(at, file));
      try {
        expect(await startCold(subjectOf('onTick'), environment)).toBeTruthy();
      } finally {
        for (const [file, text] of clients) writeFileSync(join(at, file), text);
      }
    });

    test('the proxy asks for its policies before anyone comes', async () => {
      const asked: string[] = [];
      await using store = await listen((request, response) => {
        asked.push(request.url ?? '');
        request.resume().once('end', () => void response.end('[]'));
      });
      const host = new URL(store.origin).host;
      const proxy = await startProcess(subjectOf('predict'), { ...environment, FIRESTORE_EMULATOR_HOST: host });
      stack.defer(() => proxy.close());
      await expect.poll(() => asked).toEqual([expect.stringMatching(/:runQuery$/)]);
    });

    test('a body in another character set than JSON has is refused, and takes nothing down', async () => {
      const { request } = subjectOf('onTick');
      const headers = { 'content-type': 'text/plain; charset=shift_jis' };
      const odd = { ...request, headers, body: 'tick', status: 415, says: '' };
      await startCold({ ...subjectOf('onTick'), request: odd }, environment);
    });

    test('npm installs it without a network, and the command that this brings starts it', async () => {
      const at = mkdtempSync(join(folder, 'zip-'));
      writeFileSync(join(at, 'bundle.zip'), zipOf(await bundle('dashboard')));
      // Another's reader of ZIP files than our own writer.
      execFileSync('python3', ['-m', 'zipfile', '-e', 'bundle.zip', '.'], { cwd: at });
      execFileSync('npm', ['ci', '--offline', '--no-audit', '--no-fund'], { cwd: at, stdio: 'pipe' });
      const main = join(at, 'node_modules/.bin/functions-framework');
      expect(await startCold({ ...subjectOf('dashboard'), folder: at, main }, environment)).toBeTruthy();
    });
  });
});

describe('what a bundle holds', () => {
  const watches = ['EndpointService', 'JobService', 'ModelMonitoringService', 'ModelService'];
  test.each([
    ['onBlessing', ['EndpointService', 'ModelService']],
    ['onTick', watches],
    ['onCommand', ['EndpointService']],
    ['onIncident', ['EndpointService']],
    ['onEvidence', ['EndpointService']],
    ['predict', []],
    ['dashboard', []],
  ])('%s has of Vertex AI %j, and of the rest what it calls', (name, vertex) => {
    const services = servicesOf(name);
    expect(services.get('aiplatform') ?? []).toEqual(vertex);
    expect(services.has('monitoring')).toBe(name === 'onTick');
    expect(services.has('cloudscheduler')).toBe(['onBlessing', 'onTick', 'onCommand'].includes(name));
  });

  test.each(names)('%s is below a megabyte', (name) => {
    expect(subjectOf(name).kilobytes).toBeLessThan(1000);
  });

  test('whoever asks by undici offers no HTTP/2, which is left out', () => {
    const sources = readdirSync('functions', { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => readFileSync(join('functions', path), 'utf8'));
    const imported = sources.flatMap((text) =>
      [...text.matchAll(/^import (.*) from 'undici';$/gm)].map(([, what]) => what),
    );
    expect(new Set(imported)).toEqual(new Set(['{ Agent }', '{ Pool }', 'type { Dispatcher }']));
    const made = /new (?:Agent|Pool)\((?:\w+, )?\{[^}]*\}/g;
    const connecting = sources.flatMap((text) => [...text.matchAll(made)].map(([found]) => found));
    expect(connecting.length).toBeGreaterThan(2);
    expect(connecting.filter((one) => !one.includes('allowH2: false'))).toEqual([]);
  });

  test.each(names)('%s writes no code for schemas, which takes a new process longer than it saves', (name) => {
    expect([...filesOf(name).values()].join('')).toContain('config({jitless:!0})');
  });

  test('a proxy builds no schema of what others are sent', () => {
    const named = /\bblessedAt\b/;
    const carrying = (name: string) => [...filesOf(name).values()].filter((text) => named.test(text));
    expect(carrying('onBlessing')).not.toEqual([]);
    expect(carrying('predict')).toEqual([]);
  });

  test('the same sources give the same bytes', async () => {
    expect(zipOf(await bundle('onTick')).equals(zipOf(await bundle('onTick')))).toBe(true);
  });

  test(`its entry point is where the platform looks, with ${framework} at the version that was tested`, () => {
    const { folder: at } = subjectOf('onTick');
    const { main, dependencies } = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8'));
    const { version } = JSON.parse(readFileSync(join(at, 'framework/package.json'), 'utf8'));
    const tested = JSON.parse(readFileSync(join('node_modules', framework, 'package.json'), 'utf8'));
    expect(readdirSync(at)).toContain(main);
    expect(dependencies).toEqual({ [framework]: 'file:framework' });
    expect(version).toBe(tested.version);
  });
});
