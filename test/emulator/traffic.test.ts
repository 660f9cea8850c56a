import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { flightSchema } from '../../emulator/models/flights.ts';
import { startTraffic, type Traffic, type TrafficAnswer, type TrafficClock } from '../../emulator/traffic.ts';

const servers: Server[] = [];
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const { port } = z.object({ port: z.number() }).parse(server.address());
  return `http://127.0.0.1:${port}/v1/endpoints/delays:predict`;
}

const answerOk: RequestListener = (request, response) => {
  request.resume().on('end', () => response.end('{"predictions":[]}'));
};

/** Time that passes only when told, in the ticks that traffic asked for. */
function handClock() {
  let nowMs = 0;
  let tick: { ms: number; run: () => void } | null = null;
  const clock: TrafficClock = {
    nowMs: () => nowMs,
    every: (ms, run) => {
      tick = { ms, run };
      return () => {
        tick = null;
      };
    },
  };
  const pass = (ms: number, ticks = Math.round(ms / (tick?.ms ?? ms))): void => {
    for (let i = 0; i < ticks; i++) {
      nowMs += ms / ticks;
      tick?.run();
    }
  };
  return { clock, pass };
}

function start(
  url: string,
  clock: TrafficClock,
  more: { requestsPerSecond: number; deadlineMs?: number; seed?: number },
) {
  const answers: TrafficAnswer[] = [];
  const headers = { 'x-goog-api-key': 'k' };
  const onAnswer = (answer: TrafficAnswer): void => void answers.push(answer);
  const traffic: Traffic = startTraffic({ url, headers, seed: 1, onAnswer, ...more }, clock);
  return { traffic, answers };
}

describe('pacing', () => {
  it('sends as many requests as the rate asks for, and follows when the rate changes', async () => {
    const { clock, pass } = handClock();
    const { traffic } = start(await listen(answerOk), clock, { requestsPerSecond: 7 });
    pass(10_000);
    expect(traffic.stats().sent).toBe(70);
    traffic.setRate(20);
    pass(5000);
    expect(traffic.stats().sent).toBe(170);
    traffic.setRate(0);
    pass(5000);
    expect(traffic.stats().sent).toBe(170);
    await traffic.stop();
    expect(traffic.stats()).toMatchObject({ sent: 170, ok: 170, failed: {}, skipped: 0 });
  });

  it('does not make up for a stall with a flood', async () => {
    const { clock, pass } = handClock();
    const { traffic } = start(await listen(answerOk), clock, { requestsPerSecond: 50 });
    pass(60_000, 1);
    expect(traffic.stats().sent).toBe(25);
    await traffic.stop();
  });

  it('sends on while nothing is answered, up to a bound, and counts what it skips', async () => {
    const { clock, pass } = handClock();
    const waiting: (() => void)[] = [];
    const url = await listen((_request, response) => void waiting.push(() => response.end()));
    const { traffic } = start(url, clock, { requestsPerSecond: 100 });
    pass(3000);
    expect(traffic.stats()).toMatchObject({ sent: 256, skipped: 44, ok: 0, p50Ms: null });
    const stopped = traffic.stop();
    while (traffic.stats().ok < 256) {
      for (const release of waiting.splice(0)) release();
      await new Promise(setImmediate);
    }
    await stopped;
  });

  it('sends nothing after it was stopped', async () => {
    const { clock, pass } = handClock();
    const { traffic } = start(await listen(answerOk), clock, { requestsPerSecond: 50 });
    await traffic.stop();
    pass(1000);
    await traffic.stop();
    expect(traffic.stats().sent).toBe(0);
  });

  it('refuses a rate that is no rate', async () => {
    const { clock } = handClock();
    const url = await listen(answerOk);
    expect(() => start(url, clock, { requestsPerSecond: Number.NaN })).toThrow(RangeError);
    const { traffic } = start(url, clock, { requestsPerSecond: 1 });
    expect(() => traffic.setRate(-1)).toThrow('a rate of -1');
    await traffic.stop();
  });
});

describe('requests', () => {
  it('carry one to three real flights and the headers given, the same ones for the same seed', async () => {
    const bodySchema = z.strictObject({ instances: z.array(flightSchema).min(1).max(3) });
    const sentWith = async (seed: number): Promise<string[]> => {
      const bodies: string[] = [];
      const url = await listen((request, response) => {
        expect(request.headers['x-goog-api-key']).toBe('k');
        let body = '';
        request
          .on('data', (chunk) => (body += String(chunk)))
          .on('end', () => {
            bodies.push(JSON.stringify(bodySchema.parse(JSON.parse(body))));
            response.end();
          });
      });
      const { clock, pass } = handClock();
      const { traffic } = start(url, clock, { requestsPerSecond: 40, seed });
      pass(1000);
      await traffic.stop();
      return bodies.toSorted();
    };
    const first = await sentWith(1);
    expect(first).toHaveLength(40);
    expect(await sentWith(1)).toEqual(first);
    expect(await sentWith(2)).not.toEqual(first);
  });

  it('are counted by what became of them, and reported with who answered', async () => {
    let answered = 0;
    const url = await listen((request, response) => {
      request.resume();
      response.setHeader('x-vertex-ai-deployed-model-id', '42');
      response.statusCode = [200, 503, 500, 503][answered++ % 4] ?? 200;
      response.end('said');
    });
    const { clock, pass } = handClock();
    const { traffic, answers } = start(url, clock, { requestsPerSecond: 40 });
    pass(1000);
    await traffic.stop();
    // All were answered when the second was over, so the one sent n ms before its end took n ms.
    expect(traffic.stats()).toMatchObject({ sent: 40, ok: 10, failed: { 500: 10, 503: 20 }, p50Ms: 470, p95Ms: 920 });
    expect(answers).toHaveLength(40);
    expect(answers[0]).toMatchObject({ deployedModelId: '42', body: 'said' });
  });

  it('that nobody takes are counted, not thrown', async () => {
    const url = await listen(answerOk);
    const closed = servers.pop()?.close();
    if (closed !== undefined) await once(closed, 'close');
    const { clock, pass } = handClock();
    const { traffic, answers } = start(url, clock, { requestsPerSecond: 5 });
    pass(1000);
    await traffic.stop();
    expect(traffic.stats()).toMatchObject({ sent: 5, ok: 0, failed: { unreachable: 5 }, p50Ms: null });
    expect(answers[0]).toMatchObject({ status: null, deployedModelId: null, body: '' });
  });

  it('are given up at their deadline, even when the answer has begun', async () => {
    const url = await listen((_request, response) => void response.write('{'));
    const { clock, pass } = handClock();
    const { traffic } = start(url, clock, { requestsPerSecond: 3, deadlineMs: 50 });
    pass(1000);
    await traffic.stop();
    expect(traffic.stats()).toMatchObject({ sent: 3, ok: 0, failed: { timeout: 3 } });
  });
});

describe('the command', () => {
  const script = fileURLToPath(new URL('../../emulator/traffic.ts', import.meta.url));

  it('prints a line a second, and the totals when it is interrupted', async () => {
    const url = await listen(answerOk);
    const child = spawn(process.execPath, [script, '--url', url, '--key', 'k', '--rps', '50']);
    children.push(child);
    const [line] = await once(createInterface({ input: child.stdout }), 'line');
    expect(line).toMatch(/^sent \d+ {2}ok \d+ {2}failed 0 {2}skipped 0 {2}p50 [\d.]+ ms {2}p95 [\d.]+ ms$/);
    const exited = once(child, 'exit');
    child.kill('SIGINT');
    expect(await exited).toEqual([0, null]);
  });

  it('says how it is used when it is not told where to send', async () => {
    const child = spawn(process.execPath, [script]);
    children.push(child);
    expect(await once(child, 'exit')).toEqual([2, null]);
  });
});
