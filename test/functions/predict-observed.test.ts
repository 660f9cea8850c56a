/** Can what the proxy does be seen: in traces, in the log, and in what the metrics are made of? */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createAnswerCounts } from '../../functions/proxy/answer-counts.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { createTracing } from '../../functions/proxy/spans.ts';
import { openTracing } from '../../functions/proxy/tracing.ts';
import { captureLog } from '../log.ts';
import {
  endpoint,
  goodKey,
  type Listening,
  listen,
  longPath,
  type Model,
  servedBySeven,
  startWorld,
} from './proxy/proxy-world.ts';

const logged = captureLog();

const valueSchema = z.object({ stringValue: z.string().optional(), intValue: z.number().optional() });
const spanSchema = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  name: z.string(),
  kind: z.number(),
  status: z.object({ code: z.number() }),
  attributes: z.array(z.object({ key: z.string(), value: valueSchema })),
});
const exportSchema = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: z.array(z.object({ key: z.string(), value: valueSchema })) }),
      scopeSpans: z.array(z.object({ spans: z.array(spanSchema) })),
    }),
  ),
});
type Span = z.infer<typeof spanSchema>;

const server = 2;
const client = 3;

interface Receiver extends Listening {
  /** Those that came, and the bodies that they came in. */
  spans: Span[];
  texts: string[];
}

/** What a collector is: it takes OTLP over HTTP. */
async function startReceiver(): Promise<Receiver> {
  const spans: Span[] = [];
  const texts: string[] = [];
  const listening = await listen((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      texts.push(text);
      const { resourceSpans } = exportSchema.parse(JSON.parse(text));
      spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)));
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  return { ...listening, spans, texts };
}

const attributesOf = ({ attributes }: Span) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]));

const traceId = '0af7651916cd43dd8448eb211c80319c';
const callersSpan = 'b7ad6b7169203331';
const sampled = `00-${traceId}-${callersSpan}-01`;

async function startTraced(receiver: Receiver, model?: Model, share = 1) {
  const tracing = createTracing({ url: `${receiver.origin}/v1/traces`, share, serviceName: 'proxy' }, null, 'demo');
  return startWorld(model, { tracing });
}

describe('spans', () => {
  it("lead from the caller's over ours to the upstream's, whose traceparent the model gets", async () => {
    await using receiver = await startReceiver();
    await using world = await startTraced(receiver);
    await world.post(`${longPath}:predict`, { headers: { traceparent: sampled } });
    await world.handler.flush();
    const ours = receiver.spans.find(({ kind }) => kind === server);
    const asked = receiver.spans.find(({ kind }) => kind === client);
    expect(receiver.spans.map((span) => span.traceId)).toEqual([traceId, traceId]);
    expect([ours?.parentSpanId, asked?.parentSpanId]).toEqual([callersSpan, ours?.spanId]);
    expect(world.received[0]?.headers['traceparent']).toBe(`00-${traceId}-${asked?.spanId}-01`);
    expect(ours && attributesOf(ours)).toEqual({
      'http.request.method': 'POST',
      'http.response.status_code': 200,
      deployed_model_id: '7',
      endpoint,
      caller: 'partner',
    });
    const said = receiver.texts.join('');
    expect(said).toContain('"service.name"');
    // Without it Google refuses them.
    expect(said).toContain('{"key":"gcp.project_id","value":{"stringValue":"demo"}}');
  });

  it('begin a trace where there is none, and tell of failures', async () => {
    await using receiver = await startReceiver();
    await using world = await startTraced(receiver, (_received, response) => {
      response.writeHead(500, servedBySeven).end('no');
    });
    await world.post(`${longPath}:rawPredict`);
    await world.handler.flush();
    expect(receiver.spans.map(({ status }) => status.code)).toEqual([2, 2]);
    expect(receiver.spans[0]?.traceId).toMatch(/^[\da-f]{32}$/);
  });

  it('hold no payload and no credential', async () => {
    await using receiver = await startReceiver();
    await using world = await startTraced(receiver);
    await world.post(`${longPath}:predict?key=${encodeURIComponent(goodKey)}`, { body: '{"instances":["secret"]}' });
    await world.handler.flush();
    expect(receiver.spans).toHaveLength(2);
    expect(receiver.texts.join('')).not.toContain('secret');
    expect(receiver.texts.join('')).not.toContain(goodKey);
  });

  it('are made for no stranger, for none beyond the share, and for none who wants none', async () => {
    await using receiver = await startReceiver();
    await using all = await startTraced(receiver);
    await all.post(`${longPath}:predict`, { key: 'wrong', headers: { traceparent: sampled } });
    await all.post(`${longPath}:predict`, { headers: { traceparent: `00-${traceId}-${callersSpan}-00` } });
    await all.handler.flush();
    await using none = await startTraced(receiver, undefined, 0);
    await none.post(`${longPath}:predict`, { headers: { traceparent: sampled } });
    await none.handler.flush();
    expect(receiver.spans).toEqual([]);
    expect(none.received[0]?.headers['traceparent']).toMatch(new RegExp(`^00-${traceId}-[\\da-f]{16}-00$`));
  });

  it('cost no caller an answer when nobody takes them', async () => {
    const tracing = createTracing(
      { url: 'http://127.0.0.1:9/v1/traces', share: 1, serviceName: 'proxy' },
      null,
      'demo',
    );
    await using world = await startWorld(undefined, { tracing });
    expect((await world.post(`${longPath}:predict`)).status).toBe(200);
    await world.handler.flush();
  });

  it('are off unless configured', async () => {
    expect(await openTracing(proxyConfigSchema.parse({}).tracing, null, 'demo')).toBeUndefined();
  });
});

describe('the log', () => {
  const broken: Model = (_received, response) => void response.socket?.destroy();

  it.for([
    { header: 'traceparent', value: sampled, isSampled: true },
    { header: 'x-cloud-trace-context', value: `${traceId}/${BigInt(`0x${callersSpan}`)};o=0`, isSampled: false },
  ])("puts what goes wrong into the request's trace, by $header", async ({ header, value, isSampled }) => {
    await using world = await startWorld(broken, { project: 'demo' });
    await world.post(`${longPath}:predict`, { headers: { [header]: value } });
    const line = logged.map((text) => JSON.parse(text)).find(({ severity }) => severity === 'WARNING');
    expect(line).toMatchObject({
      'logging.googleapis.com/trace': `projects/demo/traces/${traceId}`,
      'logging.googleapis.com/spanId': callersSpan,
      'logging.googleapis.com/trace_sampled': isSampled,
    });
  });
});

it('a trace without a span is none, for W3C has no word for it', async () => {
  await using world = await startWorld();
  for (const span of ['0', '000', '18446744073709551616']) {
    await world.post(`${longPath}:predict`, { headers: { 'x-cloud-trace-context': `${traceId}/${span};o=1` } });
  }
  expect(world.received.map(({ headers }) => headers['traceparent'])).toEqual(Array(3).fill(undefined));
});

describe('the lines that the metrics are made of', () => {
  const linesOf = () =>
    logged.map((text) => JSON.parse(text)).filter(({ message }) => message === 'Answers of the proxy');

  it('count every answer once, by endpoint, DeployedModel and code', async () => {
    let status = 200;
    await using world = await startWorld((_received, response) => {
      response.writeHead(status, { 'content-type': 'application/json', ...servedBySeven }).end('{"predictions":[1]}');
    });
    for (status of [200, 200, 500]) await world.post(`${longPath}:predict`);
    await world.post(`${longPath}:predict`, { key: 'wrong' });
    await world.handler.flush();
    const severity = 'INFO';
    const message = 'Answers of the proxy';
    expect(linesOf()).toEqual([
      { severity, message, endpoint, deployedModelId: '7', code: 200, answers: 2 },
      { severity, message, endpoint, deployedModelId: '7', code: 500, answers: 1 },
      { severity, message, endpoint: 'none', deployedModelId: 'none', code: 401, answers: 1 },
    ]);
    await world.handler.flush();
    expect(linesOf()).toHaveLength(3);
  });

  it('are few, whatever names and codes a model makes up', () => {
    const counts = createAnswerCounts();
    for (let i = 0; i < 10_000; i += 1) counts.count(endpoint, String(i % 1000), 200);
    counts.flush();
    const answers = linesOf().map((line) => Number(line.answers));
    expect(answers.reduce((sum, count) => sum + count, 0)).toBe(10_000);
  });
});
