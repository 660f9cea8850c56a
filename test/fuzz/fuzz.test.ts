/** Does the fuzzer find what it should, and do the doors take a small share of what the long run throws at them? */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventDoor } from './doors/events.ts';
import { doorNames, doorOf } from './doors.ts';
import { onCommand } from '../../functions/on-command.ts';
import { type Door, inputAt, run, shrunk } from './run.ts';
import { endpoint, sceneWith } from './world.ts';

const inputs: Partial<Record<string, number>> = { google: 150, records: 100 };

describe('a door takes whatever comes:', () => {
  it.for(doorNames)('%s', async (name) => {
    const door = await doorOf(name);
    const result = await door.run({ inputs: inputs[name] ?? 300, seed: 7 });
    expect(result.failures.map(({ index, message }) => `#${index}: ${message}`)).toEqual([]);
    expect(result.inputs).toBe(inputs[name] ?? 300);
    // More than one thing must become of them, or the inputs are too much alike to tell anything.
    expect(Object.keys(result.became).length).toBeGreaterThan(1);
  });
});

describe('the fuzzer finds a planted bug:', () => {
  const planted = (admit: (input: number) => Promise<string[]>): Door<number> => ({
    name: 'planted',
    inputs: fc.nat({ max: 1000 }),
    open: () => Promise.resolve({ admit, close: () => Promise.resolve() }),
  });
  const broken = planted((input) =>
    input > 900 ? Promise.reject(new RangeError('planted')) : Promise.resolve(['taken']),
  );

  it('a throw on some inputs, which are then made as small as they can be', async () => {
    const { failures, became } = await run(broken, { inputs: 300, seed: 1 });
    expect(failures.length).toBeGreaterThan(0);
    expect(failures[0]).toMatchObject({ message: expect.stringContaining('RangeError: planted') });
    expect(inputAt(broken, 1, failures[0]?.index ?? 0)).toBe(failures[0]?.input);
    expect(became['taken']).toBe(300 - failures.length);
    expect(await shrunk(broken, 1, failures[0]?.index ?? 0)).toBe(901);
  });

  it('a rejection that nobody handles', async () => {
    const leaky = planted(async (input) => {
      if (input > 900) void Promise.reject(new Error('forgotten'));
      await new Promise((resolve) => setImmediate(resolve));
      return ['taken'];
    });
    const { failures } = await run(leaky, { inputs: 100, seed: 1 });
    expect(failures[0]?.message).toContain('unhandled: Error: forgotten');
  });

  it('memory that is kept', async () => {
    const kept: Float64Array[] = [];
    const hoarding = planted(() => {
      kept.push(new Float64Array(2000));
      return Promise.resolve(['kept']);
    });
    const { failures } = await run(hoarding, { inputs: 6000, seed: 1 });
    expect(failures.map(({ message }) => message)).toEqual([expect.stringMatching(/^the heap grew by \d+ MB$/)]);
  });

  const scene = sceneWith([endpoint]);
  const failuresOf = async (handler: Parameters<typeof eventDoor>[1]): Promise<string> =>
    (await run(eventDoor('onCommand', handler, await scene), { inputs: 60, seed: 1 })).failures
      .map(({ message }) => message)
      .join('\n');

  it('a function that throws what no redelivery heals', async () => {
    const text = await failuresOf(async (event, wiring) => {
      if (JSON.stringify(event)?.includes('"data"')) throw new Error('planted');
      return onCommand(event, wiring);
    });
    expect(text).toContain('Error: planted');
  });

  it('a function that drops a message without a word', async () => {
    expect(await failuresOf(() => Promise.resolve())).toContain('Expected one outcome, got none');
  });

  it('a function that loses the original', async () => {
    const text = await failuresOf(async (event, wiring) => {
      const { bus } = wiring.ports;
      const lossy = {
        ...bus,
        publish: (topic: string) =>
          bus.publish(topic, [{ data: Buffer.from('{}'), attributes: { reason: 'r', door: 'onCommand' } }]),
      };
      return onCommand(event, { ...wiring, ports: { ...wiring.ports, bus: lossy } });
    });
    expect(text).toContain('The dead letter is not the original');
  });
});
