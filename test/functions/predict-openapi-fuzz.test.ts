/**
 * Does the description hold for whatever is asked? Requests made from it by json-schema-faker, and spoilt by fast-check, are
 * sent to a live proxy; each answer is held against it by Ajv. And every status that it lists is brought about.
 */
import { createHash } from 'node:crypto';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { generateSync } from 'json-schema-faker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { limits } from '../../functions/engine/limits.ts';
import type { PoliciesPort } from '../../functions/engine/ports.ts';
import { openapi } from '../../functions/proxy/openapi.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import { captureLog } from '../log.ts';
import { delays, goodKey, type Model, servedBySeven, startWorld, type World } from './proxy/proxy-world.ts';

captureLog();

const schemaSchema = z.record(z.string(), z.unknown());
const answerSchema = z.object({
  headers: z.record(z.string(), z.object({ schema: schemaSchema })).default({}),
  content: z.record(z.string(), z.object({ schema: schemaSchema })).default({}),
});
const operationSchema = z.object({
  requestBody: z.object({ content: z.record(z.string(), z.object({ schema: schemaSchema })) }).optional(),
  responses: z.record(z.string(), answerSchema),
});
const documentSchema = z.object({
  paths: z.record(z.string(), z.object({ get: operationSchema.optional(), post: operationSchema.optional() })),
  components: z.object({ schemas: z.record(z.string(), schemaSchema) }),
});
const parsed: unknown = JSON.parse(openapi);
const document = documentSchema.parse(parsed);

interface Operation {
  template: string;
  /** With the names of what is there. */
  path: string;
  verb: string;
  method: 'GET' | 'POST';
  described: z.infer<typeof operationSchema>;
}

const real: Record<string, string> = { project: 'demo', location: 'us-central1', endpoint: '456', alias: 'delays' };

const operations: Operation[] = Object.entries(document.paths).flatMap(([template, { get, post }]) =>
  (
    [
      ['GET', get],
      ['POST', post],
    ] as const
  ).flatMap(([method, described]) =>
    described === undefined
      ? []
      : [
          {
            template,
            path: template.replaceAll(/\{(\w+)\}/g, (_, name: string) => real[name] ?? ''),
            verb: template.slice(template.lastIndexOf(':') + 1),
            method,
            described,
          },
        ],
  ),
);

const ajv = new Ajv2020({ strict: false, allErrors: true });
ajv.addSchema({ $id: 'proxy', components: document.components });

/** Whose references lead into the document. */
function resolved(schema: object): object {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/components/', '"proxy#/components/'));
}

/** All that is wrong with an answer by the description of its operation. */
async function problemsOf({ described }: Operation, answer: Response): Promise<string[]> {
  const text = await answer.text();
  const expected = described.responses[answer.status] ?? described.responses['default'];
  if (expected === undefined) return [`${answer.status} is not listed: ${text.slice(0, 200)}`];
  const problems: string[] = [];
  for (const [name, { schema }] of Object.entries(expected.headers)) {
    const value = answer.headers.get(name);
    if (value !== null && !ajv.validate(schema, value)) problems.push(`${name}: ${ajv.errorsText()}`);
  }
  const [type = ''] = (answer.headers.get('content-type') ?? '').split(';');
  const json = expected.content['application/json'];
  if ('*/*' in expected.content) return problems;
  if (type !== 'application/json' || json === undefined) problems.push(`${answer.status} comes as "${type}"`);
  else if (!ajv.validate(resolved(json.schema), JSON.parse(text)))
    problems.push(`${answer.status}: ${ajv.errorsText()}: ${text.slice(0, 200)}`);
  return problems;
}

const checks: CheckPolicy[] = [
  {
    name: 'complaints',
    rule: { kind: 'rate', maxRatio: 0.1, marginRatio: 0.01 },
    from: { kind: 'reported' },
    dryRun: false,
  },
];
const policies: PoliciesPort = {
  list: () => Promise.resolve({ policies: [{ ...delays, analysis: { ...delays.analysis, checks } }], problems: [] }),
};
const sha256 = (key: string) => createHash('sha256').update(key).digest('hex');
const config = proxyConfigSchema.parse({
  callers: [
    { name: 'partner', endpoints: '*' },
    { name: 'narrow', endpoints: ['other'], keys: [{ sha256: sha256('narrow key') }] },
    { name: 'seldom', endpoints: '*', keys: [{ sha256: sha256('seldom key') }], requestsPerMinute: 1 },
  ],
});

const wishSchema = z.object({ wish: z.object({ status: z.int(), type: z.string(), text: z.string() }) });

/** Answers as the question wishes, and to others with a prediction. */
const obedient: Model = ({ body }, response) => {
  const wished = wishSchema.safeParse(jsonOf(body.toString()));
  const { status, type, text } = wished.data?.wish ?? {
    status: 200,
    type: 'application/json',
    text: '{"predictions":[1]}',
  };
  if (status === 0) response.socket?.destroy();
  else response.writeHead(status, { 'content-type': type, ...servedBySeven }).end(text);
};

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

let world: World;

beforeAll(async () => {
  world = await startWorld(obedient, { config, policies });
});
afterAll(() => world[Symbol.asyncDispose]());

const posts = operations.filter(({ method }) => method === 'POST');

const statuses = [200, 201, 204, 299, 400, 401, 403, 404, 409, 413, 422, 429, 500, 501, 503, 599];
const texts = ['', '{}', '[]', 'no', '{"predictions":[0.5]}', '{"error":"no"}', '{"error":{"code":"a","message":1}}'];
const wishes = fc.record({
  status: fc.constantFrom(...statuses),
  type: fc.constantFrom('application/json', 'text/plain', 'application/octet-stream'),
  text: fc.oneof(fc.constantFrom(...texts), fc.json()),
});

/** A body that the description allows, with what the model shall answer, which it allows too. */
function bodiesOf({ described, verb }: Operation): fc.Arbitrary<string> {
  const schema = described.requestBody?.content['application/json']?.schema;
  return fc.tuple(fc.nat(), fc.jsonValue(), wishes).map(([seed, any, wish]) => {
    const body = schema === undefined ? any : generateSync({ ...schema, components: document.components }, { seed });
    const isObject = typeof body === 'object' && body !== null && !Array.isArray(body);
    return JSON.stringify(isObject && verb !== 'report' ? { ...body, wish } : body) ?? 'null';
  });
}

const lone = fc.string({ unit: 'binary', maxLength: 20 });
const headerText = fc.string({ unit: fc.constantFrom(...' abcXYZ019-_/;=,"*'.split('')), maxLength: 40 });

/** Whatever comes over a network: other methods, names, keys, types and bodies. */
function spoilt(operation: Operation) {
  return fc.record({
    method: fc.constantFrom('POST', 'POST', 'POST', 'GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'),
    names: fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: lone }),
    headers: fc.record(
      {
        'x-goog-api-key': fc.constantFrom(goodKey, goodKey, goodKey, 'narrow key', 'wrong', ''),
        'content-type': headerText,
        'content-encoding': fc.constantFrom('gzip', 'identity', 'x'),
        accept: headerText,
        traceparent: headerText,
        'x-rollouts-pin': headerText,
        origin: headerText,
      },
      { requiredKeys: [] },
    ),
    body: fc.oneof(bodiesOf(operation), fc.json(), lone, fc.constant('{"reports":[]}')),
  });
}

describe('the description', () => {
  it('is OpenAPI 3.1, by its own schema', async () => {
    const result = await new Validator().validate({ ...structuredClone(schemaSchema.parse(parsed)) });
    expect(result).toMatchObject({ valid: true });
  });
});

describe.each(operations)('$method $template', (operation) => {
  it('answers what fits it as it says', async () => {
    if (operation.method === 'GET') {
      expect(await problemsOf(operation, await fetch(`${world.origin}${operation.path}`))).toEqual([]);
      return;
    }
    await fc.assert(
      fc.asyncProperty(bodiesOf(operation), async (body) => {
        const answer = await world.post(operation.path, { body });
        const { status } = answer;
        expect(await problemsOf(operation, answer)).toEqual([]);
        // The proxy itself refuses nothing of it; an outcome that no check of the policy has is the policy's to refuse.
        if (operation.verb === 'report') expect([200, 400]).toContain(status);
        else expect([...statuses, 502]).toContain(status);
      }),
      { numRuns: 40 },
    );
  });
});

describe.each(posts)('POST $template', (operation) => {
  it('answers what does not fit it as it says', async () => {
    await fc.assert(
      fc.asyncProperty(spoilt(operation), async ({ method, names, headers, body }) => {
        const path = operation.template.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
          encodeURIComponent((names === null ? real[name] : names) ?? ''),
        );
        const answer = await fetch(`${world.origin}${path}`, {
          method,
          headers,
          ...(method !== 'GET' && { body }),
        });
        expect(await problemsOf(operation, answer)).toEqual([]);
      }),
      { numRuns: 80 },
    );
  });

  it('lists no status that is never answered', { timeout: 60_000 }, async () => {
    const { path, described, verb } = operation;
    const wished = (status: number) => ({
      body: JSON.stringify({ instances: [], wish: { status, type: 'application/json', text: '{"predictions":[]}' } }),
    });
    const isReport = verb === 'report';
    const report = (outcome: unknown) => ({
      body: JSON.stringify({ deployedModelId: '7', outcomes: { complaints: outcome } }),
    });
    const good = isReport ? report(true) : wished(200);
    await using hasty = await startWorld(() => undefined, {
      policies,
      bounds: { bodyDeadlineMs: 20, deadlineMs: 20, streamDeadlineMs: 20 },
    });
    await using blind = await startWorld(obedient, { policies: { list: () => Promise.reject(new Error('down')) } });
    interface Sent {
      key?: string;
      method?: string;
      headers?: Record<string, string>;
      body?: string | ReadableStream<Uint8Array>;
    }
    const send = (to: World, init: Sent = {}, target = path) =>
      fetch(`${to.origin}${target}`, {
        method: 'POST',
        headers: { 'x-goog-api-key': init.key ?? goodKey, ...init.headers },
        ...(init.body !== undefined && { body: init.body, duplex: 'half' }),
        ...(init.method !== undefined && { method: init.method }),
      });
    const endless = new ReadableStream<Uint8Array>({ start: (stream) => stream.enqueue(new Uint8Array(1)) });
    const ways: Record<string, () => Promise<Response>> = {
      200: () => send(world, good),
      400: () => send(world, isReport ? report('no') : wished(400)),
      401: () => send(world, { ...good, key: 'wrong' }),
      403: () => send(world, { ...good, key: 'narrow key' }),
      404: () => send(world, good, path.replace(/456|delays/, 'other')),
      405: () => send(world, { method: 'GET' }),
      408: () => send(hasty, { body: endless }),
      413: () => send(world, { body: 'x'.repeat(limits.predictBytesMax + 1) }),
      415: () => send(world, { ...good, headers: { 'content-encoding': 'gzip' } }),
      429: async () => {
        await (await send(world, { ...good, key: 'seldom key' })).text();
        return send(world, { ...good, key: 'seldom key' });
      },
      431: () => send(world, { ...good, headers: { accept: 'x'.repeat(limits.passedHeaderCharactersMax + 1) } }),
      500: () => send(world, wished(500)),
      502: () => send(world, wished(0)),
      503: () => send(blind, good),
      504: () => send(hasty, good),
      default: () => send(world, wished(422)),
    };
    for (const status of Object.keys(described.responses)) {
      const answer = await ways[status]?.();
      if (answer === undefined) throw new Error(`${status} is listed, and this test knows no way to it`);
      expect(status === 'default' ? '422' : status).toBe(String(answer.status));
      expect(await problemsOf(operation, answer)).toEqual([]);
    }
  });
});
