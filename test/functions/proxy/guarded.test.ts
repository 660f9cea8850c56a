/** Is a request that found no connection tried once more, one that was perhaps heard never, and none asked in vain? */
import { buildConnector, Pool } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import { createGuardedForward } from '../../../functions/proxy/guarded.ts';
import { createRoom } from '../../../functions/proxy/held.ts';
import type { Outcome } from '../../../functions/proxy/forward.ts';
import { captureLog } from '../../log.ts';
import { type Listening, listen } from './proxy-world.ts';

captureLog();
const closing: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of closing.splice(0).toReversed()) await one[Symbol.asyncDispose]();
});

/** A forwarder whose first connections fail, and a caller before it. */
async function open(upstream: Listening, failingConnections: number) {
  const real = buildConnector({});
  let connections = 0;
  const pool = new Pool(upstream.origin, {
    connect: (options, callback) => {
      connections += 1;
      if (connections <= failingConnections) callback(Object.assign(new Error('no'), { code: 'ECONNREFUSED' }), null);
      else real(options, callback);
    },
  });
  const forward = createGuardedForward(() => pool, Date.now);
  const outcomes: (Outcome | null)[] = [];
  const door = await listen((request, response) => {
    const call = {
      origin: upstream.origin,
      path: '/',
      headers: [],
      body: Buffer.from('once'),
      deadlineMs: 5000,
      isPredict: false,
      hold: createRoom(1e6)(),
      keepBytesMax: 0,
      isSentKept: false,
    };
    forward(request.url ?? '', call, response, (outcome) => outcomes.push(outcome));
  });
  closing.push(upstream, { [Symbol.asyncDispose]: () => pool.destroy() }, door);
  const ask = async (endpoint = 'one') => (await fetch(`${door.origin}/${endpoint}`)).status;
  return { ask, outcomes, connections: () => connections };
}

describe('a request', () => {
  it('that found no connection is tried once more, and is one request', async () => {
    let asked = 0;
    const upstream = await listen((_request, response) => {
      asked += 1;
      response.end();
    });
    const { ask, outcomes, connections } = await open(upstream, 1);
    expect(await ask()).toBe(200);
    expect([asked, connections(), outcomes.map((outcome) => outcome?.isError)]).toEqual([1, 2, [false]]);
  });

  it('that finds none the second time is answered, and the budget leaves the next one a single attempt', async () => {
    const { ask, outcomes, connections } = await open(await listen((_request, response) => void response.end()), 100);
    expect(await ask()).toBe(503);
    expect(connections()).toBe(2);
    expect(await ask()).toBe(503);
    expect(connections()).toBe(3);
    expect(outcomes.map((outcome) => outcome?.failure)).toEqual(
      Array(2).fill('The upstream cannot be reached (ECONNREFUSED)'),
    );
  });

  it('that was heard is never sent again', async () => {
    let asked = 0;
    const upstream = await listen((request) => {
      asked += 1;
      request.socket.destroy();
    });
    const { ask, outcomes } = await open(upstream, 0);
    expect(await ask()).toBe(502);
    expect([asked, outcomes.map((outcome) => outcome?.isError)]).toEqual([1, [true]]);
  });

  it('to an endpoint that cannot be reached is not made, and teaches nothing; one to another is', async () => {
    let asked = 0;
    const upstream = await listen((request) => {
      asked += 1;
      request.socket.destroy();
    });
    const { ask, outcomes } = await open(upstream, 0);
    for (let i = 0; i < limits.breakerFailuresMin; i += 1) expect(await ask()).toBe(502);
    expect([await ask(), outcomes.at(-1), asked]).toEqual([503, null, limits.breakerFailuresMin]);
    expect([await ask('another'), asked]).toEqual([502, limits.breakerFailuresMin + 1]);
  });
});
