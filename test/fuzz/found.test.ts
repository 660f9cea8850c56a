/** Bugs that the fuzzer found, each as small as it could be made. */
import { DatabaseSync } from 'node:sqlite';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { serveGrpc, unaryService } from '../../emulator/grpc.ts';
import { decode } from '../../functions/decode.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { evidenceMessageSchema, incidentMessageSchema } from '../../functions/engine/messages.ts';
import { problemsOf } from '../../functions/engine/problems.ts';
import { parseStored } from '../../functions/engine/records.ts';
import { openSqliteStore } from '../../functions/engine/sqlite-store.ts';
import { googleClients } from '../../functions/gcp/clients.ts';
import { vertexEndpoints } from '../../functions/gcp/endpoints.ts';
import { requestLogSignals } from '../../functions/gcp/request-log.ts';
import { servedBy } from '../../functions/proxy/headers.ts';
import { formatProblem, parsePolicy } from '../../machines/policy/document.ts';
import { emptyRecord } from '../../machines/rollout/record.ts';
import { endpoint } from './world.ts';
import { listen } from '../functions/proxy/proxy-world.ts';

const window = { from: '2026-01-05T00:00:00Z', to: '2026-01-05T00:00:05Z' };
const evidence = (variants: object) => evidenceMessageSchema.safeParse({ endpoint, window, source: 'p', variants });

describe('a message', () => {
  it.for(['{"command":"abort"}', 'hello world!', '_', 'ä'])('of which %j is no base64 is kept as it came', (data) => {
    const { original, result } = decode({ message: { data, attributes: { kind: 'tick' }, messageId: '1' } });
    expect(result).toMatchObject({ kind: 'problem', reason: expect.stringContaining('expected base64') });
    expect(JSON.parse(original.toString())).toMatchObject({ message: { data } });
  });

  it.for(['e30=', 'e30', 'eyJhIjoi8J-agCJ9', 'eyJhIjoi8J+agCJ9', ''])('of which %j is base64 is read', (data) => {
    expect(decode({ message: { data, attributes: { a: 'b' }, messageId: '1' } }).result.kind).toBe('message');
  });

  it('with an empty number does not share it with the next', () => {
    const ids = [1, 2].map(() => decode({ message: { data: 'e30=', messageId: '' } }).messageId);
    expect(new Set(ids).size).toBe(2);
    expect(ids).not.toContain('');
  });

  it('with tens of thousands of mistakes is refused in a few words', () => {
    const variants = Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [i, 0]));
    const { error } = evidence(variants);
    expect(error?.issues.length).toBe(30_000);
    const text = error === undefined ? '' : problemsOf(error);
    expect(text).toMatch(/^variants\.0: .*; and 29980 more$/);
    expect(text.length).toBeLessThan(6_300);
  });

  it('whose counts no endpoint reaches is refused, for their sums would not be exact', () => {
    const most = Number.MAX_SAFE_INTEGER;
    const counts = { requests: most, errors: 0, latencyMs: { bounds: [], counts: [most] } };
    expect(evidence({ 1: counts }).error?.issues.map(({ path }) => path.join('.'))).toEqual([
      'variants.1.requests',
      'variants.1.latencyMs',
    ]);
  });

  it('of an alert with an endless summary is read, and the summary cut', () => {
    const summary = 'x'.repeat(200_000);
    const parsed = incidentMessageSchema.parse({ incident: { incident_id: 'i', state: 'open', summary } });
    expect(parsed.incident.summary).toBe('x'.repeat(1000));
  });
});

describe('a stored record', () => {
  it('that is no JSON does not hide the others', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'found-'));
    const path = join(folder, 'store.sqlite');
    const store = openSqliteStore(path);
    const data = emptyRecord(endpoint);
    const change = { key: 'us-central1~1', expected: null, data, isActive: true, journal: [], marks: [], archive: [] };
    await store.commit(change);
    const database = new DatabaseSync(path);
    database.exec(`INSERT INTO records (key, revision, is_active, data) VALUES ('us-central1~0', 1, 1, '{"schema":')`);
    database.close();
    const [broken, whole] = await store.listActive();
    expect(whole?.data).toEqual(data);
    expect(() => broken && parseStored(broken)).toThrow(/us-central1~0 is damaged/);
    await store.close();
    rmSync(folder, { recursive: true });
  });

  it.for(['', 'nobody', `${endpoint}2`])('that names the endpoint %j is refused', (name) => {
    const stored = { key: 'us-central1~1', data: { ...emptyRecord(endpoint), endpoint: name }, revision: '1' };
    expect(() => parseStored(stored)).toThrow(/us-central1~1 is damaged: it names/);
  });
});

describe('a policy', () => {
  it('that is nested too deeply for the parser is refused', () => {
    const parsed = parsePolicy(`${'- '.repeat(10_000)}\n: b`);
    expect(parsed.kind === 'invalid' && parsed.problems[0]?.message).toContain('nested too deeply');
  });

  const long = 'k'.repeat(30_000);
  it.for([
    ['key', `${long}: 1`],
    ['key within a step', `spec: { steps: [ { ${long}: 1 } ] }`],
    ['key in place of a number', `spec: { steps: [ { percent: { ${long}: 1 } } ] }`],
    ['alias', `spec: *${long}`],
    ['tag', `spec: !${long} x`],
    ['window', `spec: { freeze: [ "${long.slice(0, 20_000)}" ] }`],
    ['time zone', `spec: { freeze: [ "Fri 16:00 – Mon 08:00 ${long.slice(0, 20_000)}" ] }`],
    ['directive', `%${long}\n---\nspec: 1`],
  ] as const)('with an endless %s is refused in a few words', ([, text]) => {
    const parsed = parsePolicy(text);
    if (parsed.kind === 'ok') throw new Error('expected problems');
    expect(Math.max(...parsed.problems.map((problem) => formatProblem('a.yaml', problem).length))).toBeLessThan(700);
  });
});

describe('a reply of Google', () => {
  const closers: (() => Promise<void>)[] = [];
  afterEach(() => Promise.all(closers.splice(0).map((close) => close())));

  it('with an operation whose response is other bytes is answered with the name of the operation', async () => {
    const uncaught = vi.fn<(error: Error) => void>();
    process.on('uncaughtException', uncaught);
    const response = { typeUrl: 'x', value: Buffer.from([7, 7, 7]) };
    const UndeployModel = () => ({ name: 'operations/7', done: true, response });
    const server = await serveGrpc(0, [unaryService('google.cloud.aiplatform.v1.EndpointService', { UndeployModel })]);
    const clients = googleClients(
      parseEnvironment({
        GOOGLE_CLOUD_PROJECT: 'demo',
        ROLLOUT_LOCATION: 'us-central1',
        VERTEX_EMULATOR_HOST: `127.0.0.1:${server.port}`,
      }),
    );
    closers.push(
      () => clients.close(),
      () => server.close(),
    );
    // The client takes seconds to load, and its calls have a deadline.
    await clients.endpoints();
    expect(await vertexEndpoints(clients).undeploy(endpoint, '1')).toEqual({ operation: 'operations/7' });
    process.off('uncaughtException', uncaught);
    expect(uncaught).not.toHaveBeenCalled();
  });

  const nested = `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`;
  it.for([
    ['nested 5,000 times', 200, nested],
    ['refused, and nested', 400, nested],
    ['refused, with a toString of its own', 503, '{"toString":7}'],
  ] as const)('about a request log, %s, becomes a note', async ([, code, text]) => {
    await using server = await listen((_, response) => response.writeHead(code).end(text));
    const BIGQUERY_EMULATOR_HOST = new URL(server.origin).host;
    const project = { GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'us-central1' };
    const clients = googleClients(parseEnvironment({ ...project, BIGQUERY_EMULATOR_HOST }));
    closers.push(() => clients.close());
    const from = { kind: 'requestLog', table: 'demo.logs.requests', value: 'predictions' } as const;
    const checks = [{ name: 'far', from, rule: { kind: 'drift', maxDistance: 0.3 } as const, dryRun: false }];
    const query = { endpoint, window: { fromAt: 0, toAt: 1000 }, sinceAt: 0, periodMs: 1000, checks };
    const models = [{ id: '1', model: 'm', versionId: '1' }];
    const [answer] = await requestLogSignals(clients).read([{ ...query, models }]);
    expect(answer?.notes).toEqual([expect.stringMatching(/^far: Query of demo\.logs\.requests: /)]);
  });

  it.for([
    ['of 3,000 digits', '9'.repeat(3000)],
    ['__proto__', '__proto__'],
    ['7a', '7a'],
  ])('that names a DeployedModel %s names none', ([, id]) => {
    expect(servedBy({ 'x-vertex-ai-deployed-model-id': id }).deployedModelId).toBeNull();
  });
});
