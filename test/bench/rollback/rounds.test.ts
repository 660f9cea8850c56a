/** Does what the proxy counts take a bad version off by itself, with thousands of requests in flight, and how soon? */
import { expect, test } from 'vitest';
import { byProxy, measure } from './rounds.ts';

test('version 3 goes on the word of the proxy, long before Monitoring has one', async () => {
  const [round] = await measure(1, byProxy);
  if (round === undefined) throw new Error('nothing was measured');
  console.log(`From the first bad answer to the traffic restored: ${round.seconds.toFixed(1)} s`);
  expect(round.inFlight).toBeGreaterThanOrEqual(1000);
  expect(round.reason).toMatch(/^Canary \d+ errors in \d+ requests .*\(proxy\)$/);
});
