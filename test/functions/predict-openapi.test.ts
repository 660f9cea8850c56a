/** Is /openapi.json true? What it says is compared with what the proxy does. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { limits } from '../../functions/engine/limits.ts';
import { goodKey, longPath, type Model, servedBySeven, startWorld, type World } from './proxy/proxy-world.ts';

const documentSchema = z.object({
  openapi: z.string().regex(/^3\.1\./),
  info: z.object({ title: z.string(), version: z.string() }),
  security: z.array(z.record(z.string(), z.array(z.string()))),
  paths: z.record(
    z.string().startsWith('/'),
    z.object({
      parameters: z.array(z.object({ name: z.string(), in: z.literal('path'), required: z.literal(true) })).default([]),
      get: z.object({ responses: z.record(z.string(), z.unknown()) }).optional(),
      post: z
        .object({ requestBody: z.unknown(), responses: z.record(z.string().regex(/^(?:\d{3}|default)$/), z.unknown()) })
        .optional(),
    }),
  ),
  components: z.object({
    securitySchemes: z.object({
      key: z.object({ type: z.literal('apiKey'), in: z.literal('header'), name: z.string() }),
    }),
    schemas: z.record(z.string(), z.record(z.string(), z.unknown())),
  }),
});

/** Answers with the status that the body names. */
const obedientModel: Model = ({ body }, response) => {
  response.writeHead(Number(body.toString()), servedBySeven).end('{"predictions":[1]}');
};

async function documentOf(world: World): Promise<z.infer<typeof documentSchema>> {
  const answer = await fetch(`${world.origin}/openapi.json`);
  expect(answer.status).toBe(200);
  return documentSchema.parse(await answer.json());
}

const real: Record<string, string> = {
  project: 'demo',
  location: 'us-central1',
  endpoint: '456',
  alias: 'delays',
};

describe('/openapi.json', () => {
  it('names every parameter of its paths, and refers only to schemas it has', async () => {
    await using world = await startWorld();
    const document = await documentOf(world);
    for (const [path, { parameters }] of Object.entries(document.paths)) {
      expect(parameters.map(({ name }) => `{${name}}`)).toEqual(path.match(/\{\w+\}/g) ?? []);
    }
    for (const [, name] of JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)) {
      expect(Object.keys(document.components.schemas)).toContain(name);
    }
  });

  it('says what happens to reports', async () => {
    await using world = await startWorld();
    const document = await documentOf(world);
    for (const path of [longPath, '/v1/endpoints/delays']) {
      const template =
        path === longPath
          ? '/v1/projects/{project}/locations/{location}/endpoints/{endpoint}'
          : '/v1/endpoints/{alias}';
      const listed = Object.keys(document.paths[`${template}:report`]?.post?.responses ?? {});
      const answers = await Promise.all([
        world.post(`${path}:report`, { body: '{}' }),
        world.post(`${path}:report`, { key: 'wrong' }),
        world.post(`${path}:report`, { body: 'x'.repeat(limits.reportBytesMax + 1) }),
        world.post(`${path}9:report`, { body: '{}' }),
      ]);
      const statuses = answers.map(({ status }) => status);
      expect(statuses).toEqual([400, 401, 413, 404]);
      for (const status of [200, 429, ...statuses]) expect(listed).toContain(String(status));
    }
  });

  it('says what happens: every path that predicts answers, with no status that it does not list', async () => {
    await using world = await startWorld(obedientModel, { bounds: { bodyBytesMax: 100 } });
    await using slow = await startWorld(() => undefined, { bounds: { deadlineMs: 20, streamDeadlineMs: 20 } });
    const document = await documentOf(world);
    const keyHeader = document.components.securitySchemes.key.name;
    const posts = Object.entries(document.paths).filter(([, { post }]) => post !== undefined);
    const paths = posts.filter(([template]) => !template.endsWith(':report'));
    expect([posts.length, paths.length]).toEqual([8, 6]);
    for (const [template, { post }] of paths) {
      const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => real[name] ?? '');
      const statusOf = async (body: string, key = goodKey, origin = world.origin) => {
        const answer = await fetch(`${origin}${path}`, { method: 'POST', body, headers: { [keyHeader]: key } });
        await answer.arrayBuffer();
        return answer.status;
      };
      const statuses = await Promise.all([
        ...['200', '400', '429', '500', '503', 'x'.repeat(101)].map((body) => statusOf(body)),
        statusOf('200', 'wrong'),
        statusOf('', goodKey, slow.origin),
      ]);
      expect(statuses).toEqual([200, 400, 429, 500, 503, 413, 401, 504]);
      for (const status of statuses) expect(Object.keys(post?.responses ?? {})).toContain(String(status));
    }
  });
});
