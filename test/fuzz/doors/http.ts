/**
 * The two HTTP functions, as bytes on a connection: requests that are nearly right, requests that are none, and, behind the
 * proxy, an upstream that answers anything at all.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { duplexPair } from 'node:stream';
import fc from 'fast-check';
import { createDashboard } from '../../../functions/dashboard.ts';
import { commandMessageSchema } from '../../../functions/engine/messages.ts';
import { evidenceMessageSchema } from '../../../functions/engine/messages.ts';
import { listRollouts, readJournal, readRollout } from '../../../functions/engine/rollouts.ts';
import { createPredict } from '../../../functions/predict.ts';
import { anyValue, damaged, damagedJson, jsonOf } from '../arbitraries.ts';
import type { Door, OpenDoor } from '../run.ts';
import { captured, endpoint, openWorld, type Scene, sceneWith } from '../world.ts';
import { portOf } from '../../port.ts';

export interface Asked {
  bytes: Buffer;
  /** False: the request may never end, and the caller hangs up. */
  isWhole: boolean;
  /** What the upstream answers, as bytes. */
  upstream: Buffer;
  isUpstreamGood: boolean;
}

const key = 'correct horse battery staple';
const goodAnswer = answerOf(200, ['x-vertex-ai-deployed-model-id: 1'], '{"predictions":[0.5]}');

/** A caller who does not end its request has so long. */
const patienceMs = 3;

export async function httpDoors(): Promise<Door<Asked>[]> {
  const scene = await sceneWith([endpoint]);
  const rollout = scene.records[0]?.active?.context.id ?? '';
  return [
    { name: 'dashboard', inputs: requests(dashboardParts(rollout)), open: () => openDashboard(scene) },
    { name: 'predict', inputs: requests(predictParts()), open: () => openPredict(scene) },
  ];
}

interface Parts {
  targets: string[];
  methods: string[];
  headers: string[];
  bodies: fc.Arbitrary<unknown>;
}

function dashboardParts(rollout: string): Parts {
  const commands = ['pause', 'resume', 'abort', 'promote', 'promote-full', 'approve', 'retry'];
  return {
    targets: [
      '/',
      '/api/rollouts',
      `/api/rollouts/${rollout}`,
      `/api/rollouts/${rollout}/journal`,
      `/api/rollouts/${rollout}/commands`,
      `/api/rollouts/${rollout}/commands`,
      `/api/rollouts/${rollout}/commands`,
      '/api/rollouts/%2e%2e/journal',
      '/api/rollouts/nobody',
    ],
    methods: ['GET', 'POST', 'POST', 'HEAD'],
    headers: [
      'content-type: application/json',
      'content-type: application/json',
      'content-type: text/plain',
      'origin: null',
      'sec-fetch-site: cross-site',
    ],
    bodies: fc.constantFrom(...commands.map((command) => ({ command, reason: 'why', by: 'ana', commandId: 'c' }))),
  };
}

function predictParts(): Parts {
  const long = `/v1/${endpoint}`;
  const verbs = ['predict', 'rawPredict', 'streamRawPredict', 'report'];
  return {
    targets: [
      ...verbs.flatMap((verb) => [`${long}:${verb}`, `/v1/endpoints/delays-1:${verb}`]),
      '/openapi.json',
      '/v1/endpoints/__proto__:predict',
    ],
    methods: ['POST', 'POST', 'POST', 'GET'],
    headers: [
      `x-goog-api-key: ${key}`,
      `x-goog-api-key: ${key}`,
      `x-goog-api-key: ${key}`,
      'x-goog-api-key: wrong',
      'authorization: Bearer x.y.z',
    ],
    bodies: fc.constantFrom<unknown>(
      { instances: [[1, 2, 3]] },
      { deployedModelId: '1', outcomes: { complaints: true, tokens: 7 } },
      { reports: [{ deployedModelId: '1', outcomes: { complaints: false } }] },
    ),
  };
}

function requests({ targets, methods, headers, bodies }: Parts): fc.Arbitrary<Asked> {
  const printable = fc.string({ unit: 'binary-ascii', maxLength: 60 }).map((text) => text.replaceAll(/[\r\n\0]/g, ' '));
  const cut = fc.nat({ max: 9999 });
  const method = fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom(...methods) },
    { weight: 1, arbitrary: fc.constantFrom('PUT', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'PATCH', 'post', 'BREW') },
  );
  const target = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...targets) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom(...targets), cut, printable)
        .map(([path, at, odd]) => inserted(path, at, encodeURI(odd))),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '*',
        '//',
        '/%',
        '/%ff',
        '/%00',
        '/../..',
        'http://other/api/rollouts',
        `/${'a/'.repeat(5000)}`,
        `/${'x'.repeat(9000)}`,
        '/api/rollouts/%F0%9F%9A%80/journal',
        '/api/rollouts/__proto__',
        '/?x=/api/rollouts',
      ),
    },
  );
  const header = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...headers) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(
          fc.constantFrom('x-goog-api-key', 'content-type', 'origin', 'traceparent', 'accept', 'cookie', 'x'),
          printable,
        )
        .map(([name, value]) => `${name}: ${value}`),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        `x-goog-api-key: ${'x'.repeat(5000)}`,
        `cookie: ${'c'.repeat(20_000)}`,
        'content-encoding: gzip',
        'transfer-encoding: chunked',
        'content-length: 7',
        'content-length: -1',
        'expect: 100-continue',
        'upgrade: websocket',
        '__proto__: x',
      ),
    },
  );
  const body = fc.oneof(
    { weight: 6, arbitrary: damagedJson(bodies).map((text) => Buffer.from(text)) },
    { weight: 2, arbitrary: bodies.map((value) => Buffer.from(jsonOf(value))) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: anyValue.map((value) => Buffer.from(jsonOf(value))) },
  );
  const well = fc
    .record({ method, target, headers: fc.array(header, { maxLength: 4 }), body })
    .map((parts) => ({ bytes: requestOf(parts), isWhole: isWhole(parts.headers) }));
  const ill = fc
    .tuple(well, cut, fc.oneof(printable, fc.constantFrom('\r\n\r\n', '\0', '\r\n', ' ', '\r\nx: y')))
    .map(([{ bytes }, at, odd]) => {
      const place = at % (bytes.length + 1);
      const isCut = at % 3 === 0;
      return {
        bytes: Buffer.concat([bytes.subarray(0, place), Buffer.from(odd), ...(isCut ? [] : [bytes.subarray(place)])]),
        isWhole: false,
      };
    });
  const request = fc.oneof({ weight: 12, arbitrary: well }, { weight: 1, arbitrary: ill });
  return fc.tuple(request, upstreamAnswers()).map(([asked, answer]) => ({ ...asked, ...answer }));
}

function upstreamAnswers(): fc.Arbitrary<{ upstream: Buffer; isUpstreamGood: boolean }> {
  const status = fc.constantFrom(100, 101, 200, 201, 204, 301, 304, 400, 401, 403, 404, 429, 500, 503, 599, 999);
  const header = fc.constantFrom(
    'x-vertex-ai-deployed-model-id: 1',
    `x-vertex-ai-deployed-model-id: ${'9'.repeat(3000)}`,
    'x-vertex-ai-deployed-model-id: __proto__',
    'content-encoding: gzip',
    'content-type: text/html',
    'set-cookie: a=b',
    'x-vertex-ai-model: ü',
    'retry-after: never',
    'vary: *',
  );
  const body = fc.oneof(
    damagedJson(
      fc.constantFrom<unknown>({ predictions: [0.5, 1] }, { error: { code: 404, message: 'no', status: 'X' } }),
    ),
    damaged(fc.constant({ predictions: [{ score: [1] }] })).map(jsonOf),
  );
  const odd = fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .tuple(status, fc.array(header, { maxLength: 3 }), body)
        .map(([code, lines, text]) => answerOf(code, lines, text)),
    },
    { weight: 1, arbitrary: fc.nat({ max: goodAnswer.length - 1 }).map((length) => goodAnswer.subarray(0, length)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
  );
  return fc.oneof(
    { weight: 1, arbitrary: fc.constant({ upstream: goodAnswer, isUpstreamGood: true }) },
    { weight: 2, arbitrary: odd.map((upstream) => ({ upstream, isUpstreamGood: false })) },
  );
}

async function openDashboard(scene: Scene): Promise<OpenDoor<Asked>> {
  const world = await openWorld(scene);
  const sent: unknown[] = [];
  const handler = createDashboard({
    listRollouts: () => listRollouts(world.store),
    readRollout: (id) => readRollout(world.store, id),
    readJournal: (id) => readJournal(world.store, id),
    sendCommand(command) {
      sent.push(command);
      return Promise.resolve();
    },
    now: world.wiring.ports.now,
  });
  const before = await world.state();
  return openHttp(handler, {
    async check(_asked, status) {
      if (status >= 500) throw new Error(`The dashboard answered ${status}`);
      for (const command of sent.splice(0)) {
        const parsed = commandMessageSchema.safeParse(command);
        if (!parsed.success) throw new Error(`It sent a command that onCommand refuses: ${parsed.error.message}`);
      }
      if ((await world.state()) !== before) throw new Error('The dashboard changed a record');
    },
    close: () => world.close(),
  });
}

async function openPredict(scene: Scene): Promise<OpenDoor<Asked>> {
  const world = await openWorld(scene);
  let answer = goodAnswer;
  const upstream = createTcpServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => socket.end(answer));
  }).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const port = portOf(upstream);
  const reported: unknown[] = [];
  const handler = createPredict({
    proxyKeys: [{ name: 'partner', sha256: createHash('sha256').update(key).digest('hex') }],
    policies: world.wiring.ports.policies,
    upstreamOrigin: () => `http://127.0.0.1:${port}`,
    accessToken: null,
    publishEvidence(message) {
      reported.push(message);
      return Promise.resolve();
    },
    now: Date.now,
    instanceId: 'fuzz',
    bounds: { evidenceIntervalMs: 50 },
  });
  return openHttp(handler, {
    before(asked) {
      answer = asked.upstream;
    },
    check({ isUpstreamGood }, status, text) {
      if (status >= 500 && (isUpstreamGood || text.includes('The proxy failed')))
        throw new Error(`The proxy answered ${text}`);
      for (const message of reported.splice(0)) {
        const parsed = evidenceMessageSchema.safeParse(message);
        if (!parsed.success) throw new Error(`It reported evidence that onEvidence refuses: ${parsed.error.message}`);
      }
    },
    async close() {
      await handler.close();
      upstream.close();
      await world.close();
    },
  });
}

type HttpHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

interface Around {
  before?(asked: Asked): void;
  check(asked: Asked, status: number, text: string): Promise<void> | void;
  close(): Promise<void>;
}

function openHttp(handler: HttpHandler, around: Around): OpenDoor<Asked> {
  const lines: Record<string, unknown>[] = [];
  const problems: unknown[] = [];
  let calls = 0;
  const server = createServer((request, response) => {
    calls += 1;
    const handle = async (): Promise<void> => handler(request, response);
    handle().catch((error: unknown) => problems.push(error));
  });
  return {
    async admit(asked) {
      calls = 0;
      lines.length = 0;
      around.before?.(asked);
      const restore = captured(lines);
      let text: string;
      try {
        text = await exchange(server, asked);
      } finally {
        restore();
      }
      const [problem] = problems.splice(0);
      if (problem !== undefined) throw new Error('The handler rejected', { cause: problem });
      // Node's own parser refused it, or the caller hung up first.
      if (calls === 0) return ['refused'];
      text = text.replace(/^(?:HTTP\/1\.1 1\d\d [^\r]*\r\n\r\n)+/, '');
      if (text === '') {
        if (asked.isWhole && asked.isUpstreamGood) throw new Error('A whole request was not answered');
        return ['cut off'];
      }
      const status = statusOf(text, asked);
      await around.check(asked, status, text);
      return [`${status}`];
    },
    async close() {
      server.closeAllConnections();
      await around.close();
    },
  };
}

/** One request on a connection of its own; everything that came back. */
async function exchange(server: Server, { bytes, isWhole: mustAnswer }: Asked): Promise<string> {
  const [near, far] = duplexPair();
  const chunks: Buffer[] = [];
  near.on('data', (chunk: Buffer) => chunks.push(chunk));
  const over = Promise.withResolvers<void>();
  near.once('end', over.resolve);
  near.once('close', over.resolve);
  near.on('error', () => {});
  far.on('error', () => {});
  server.emit('connection', far);
  near.write(bytes);
  const timer = mustAnswer ? null : setTimeout(() => near.end(), patienceMs);
  await over.promise;
  if (timer !== null) clearTimeout(timer);
  near.destroy();
  far.destroy();
  return Buffer.concat(chunks).toString('latin1');
}

/** The status of an answer that is well-formed, and, where it is an error of ours, Google's JSON without a stack in it. */
function statusOf(text: string, { isUpstreamGood }: Asked): number {
  const end = text.indexOf('\r\n\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]);
  if (end === -1 || !(status >= 100)) throw new Error(`No HTTP answer: ${text.slice(0, 200)}`);
  const body = text.slice(end + 4);
  const length = /^content-length: (\d+)$/im.exec(text.slice(0, end))?.[1];
  const isEmpty = body === '';
  if (length !== undefined && !isEmpty && Number(length) !== body.length && isUpstreamGood)
    throw new Error(`content-length is ${length}, and ${body.length} bytes came`);
  if (/\n\s+at .*:\d+:\d+|node_modules/.test(body) && isUpstreamGood)
    throw new Error(`A stack in the answer: ${body.slice(0, 500)}`);
  if (status >= 400 && !isEmpty && isUpstreamGood) {
    const { error }: { error?: { code?: unknown; message?: unknown; status?: unknown } } = JSON.parse(body);
    const isGoogles =
      error?.code === status &&
      typeof error.message === 'string' &&
      error.message !== '' &&
      typeof error.status === 'string';
    if (!isGoogles) throw new Error(`No Google error: ${body.slice(0, 300)}`);
    if (body.length > 16 * 1024) throw new Error(`An error of ${body.length} bytes`);
  }
  return status;
}

function requestOf({
  method,
  target,
  headers,
  body,
}: {
  method: string;
  target: string;
  headers: string[];
  body: Buffer;
}): Buffer {
  const isBare = method === 'GET' || method === 'HEAD';
  const hasLength = headers.some((line) => /^(content-length|transfer-encoding)/.test(line));
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'host: localhost',
    'connection: close',
    ...headers,
    ...(isBare || hasLength ? [] : [`content-length: ${body.length}`]),
  ];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), isBare ? Buffer.alloc(0) : body]);
}

/** Headers that say something else of the body may leave the server waiting for more. */
function isWhole(headers: string[]): boolean {
  return !headers.some((line) => /^(content-length|transfer-encoding|expect|upgrade)/.test(line));
}

function answerOf(status: number, headers: string[], body: string): Buffer {
  const lines = [
    `HTTP/1.1 ${status} X`,
    'connection: close',
    `content-length: ${Buffer.byteLength(body)}`,
    'content-type: application/json',
    ...headers,
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

function inserted(text: string, at: number, odd: string): string {
  const place = at % (text.length + 1);
  return text.slice(0, place) + odd + text.slice(place);
}
