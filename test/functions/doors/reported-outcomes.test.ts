/** Do the outcomes that clients report decide, only those that the policy asks for, and only while they are new? */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPredict } from '../../../functions/predict.ts';
import { policiesFromFolder } from '../../../functions/engine/policies-folder.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { listen } from '../proxy/proxy-world.ts';
import { type Doors, openDoors, type Subject } from './doors-world.ts';
import { captureLog } from '../../log.ts';

let doors: Doors;
let subject: Subject;
let rollout: StoredRollout;
captureLog();

const spec = `  analysis:
    checks:
      - { name: complaints, rate: { max: 10%, margin: 1% }, from: reported }
      - { name: basket, drift: { maxDistance: 0.3 }, from: reported }
`;

beforeAll(async () => {
  doors = await openDoors();
  subject = await doors.subject('reported', spec);
  rollout = await doors.rollingOut(subject);
});

afterAll(() => doors.close());

/** Signals of the canary and of stable, from a millisecond of the step unless told. */
function told(signals: object, change: object = {}): string {
  const { canaryId, effectAt } = rollout.context;
  const from = effectAt ?? 0;
  const window = { from: new Date(from).toISOString(), to: new Date(from + 1).toISOString() };
  const variants = { 1: { signals }, [canaryId]: { signals } };
  return JSON.stringify({ endpoint: subject.endpoint, window, source: 'shop', variants, ...change });
}

describe('signals in an evidence message', () => {
  it('are weighed where the policy has them reported; the rest is left out, and noted', async () => {
    const complaints = { hits: 1, trials: 100 };
    const basket = { hits: 1, trials: 100 };
    const constructor = { hits: 1, trials: 1 };
    const data = told({ complaints, basket, returns: complaints, constructor }, { source: 'filtered' });
    expect(await doors.send('onEvidence', { messageId: 'm', data })).toBe(204);
    const journal = await doors.journal(rollout.context.id);
    const evidence = expect.objectContaining({
      source: 'proxy filtered',
      variants: expect.objectContaining({ 1: expect.objectContaining({ requests: 0, signals: { complaints } }) }),
      notes: [expect.stringMatching(/reported: basket, returns, constructor$/)],
    });
    expect(journal).toContainEqual(expect.objectContaining({ event: expect.objectContaining({ evidence }) }));
    expect(await doors.deadLetters()).toEqual([]);
  });

  it.for([
    { why: 'a day ago', hours: -24.1 },
    { why: 'in the future', hours: 0.1 },
  ])('from $why are kept as a dead letter, and not weighed', async ({ why, hours }) => {
    const at = Date.now() + hours * 3_600_000;
    const window = { from: new Date(at - 5_000).toISOString(), to: new Date(at).toISOString() };
    const data = told({ complaints: { hits: 0, trials: 10 } }, { window, source: why });
    const { context } = await doors.active(subject);
    expect(await doors.send('onEvidence', { messageId: why, data })).toBe(204);
    expect(await doors.deadLetters()).toMatchObject([
      {
        attributes: {
          messageId: why,
          reason: expect.stringMatching(/window\.to: .* at most 24 h old and 5 min ahead/),
        },
      },
    ]);
    expect((await doors.active(subject)).context.tally).toEqual(context.tally);
  });
});

describe('what clients report to the proxy', () => {
  it('takes the traffic from a canary that they complain about', async () => {
    const key = 'a key';
    const handler = createPredict({
      proxyKeys: [{ name: 'shop', sha256: createHash('sha256').update(key).digest('hex') }],
      policies: policiesFromFolder(doors.policies),
      upstreamOrigin: () => 'http://127.0.0.1:9',
      accessToken: null,
      publishEvidence: async (message) => {
        await doors.send('onEvidence', { messageId: message.window.from, data: JSON.stringify(message) });
      },
      now: Date.now,
      instanceId: 'door',
    });
    await using proxy = await listen(handler);
    const report = async (deployedModelId: string, complaints: boolean) => {
      const one = { deployedModelId, outcomes: { complaints, basket: 0.5 } };
      const body = JSON.stringify({ reports: Array.from({ length: 100 }, () => one) });
      const headers = { 'x-goog-api-key': key };
      const answer = await fetch(`${proxy.origin}/v1/endpoints/reported:report`, { method: 'POST', body, headers });
      expect([answer.status, await answer.text()]).toEqual([200, '{}']);
    };
    for (let i = 0; i < 3; i += 1) {
      await report('1', false);
      await report(rollout.context.canaryId, true);
      await handler.flush();
    }
    await handler.close();
    expect(await doors.splitOf(subject)).toMatchObject({ 1: 100 });
    const journal = JSON.stringify(await doors.journal(rollout.context.id));
    expect(journal).toMatch(/"check":"complaints","kind":"unhealthy"/);
  });
});
