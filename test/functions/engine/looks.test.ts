/** What is made of what cannot be seen: an endpoint that is gone, an operation that was forgotten, numbers that do not come? */
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import type { Ports } from '../../../functions/engine/ports.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { stateOf } from '../../../machines/rollout/describe.ts';
import { endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';
import { captureLog } from '../../log.ts';

const observing = { periodMs: 1000 };
const gone = () => Promise.reject(new PermanentError('notFound', 'gone'));
const later = () => Promise.reject(new TransientError('unavailable', 'later'));

let lab: Laboratory;
const lines = captureLog();

beforeEach(() => {
  lab = laboratory();
});

afterEach(() => lab.close());

/** A rollout of version 2 that has just begun; its world is seen from the next tick on. */
async function begun(): Promise<void> {
  const { endpoints } = lab.ports;
  lab.ports.endpoints = { ...endpoints, read: later };
  await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'e', model, versionId: '2' }, 'm');
  lab.ports.endpoints = endpoints;
}

async function ticks(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    lab.pass(1);
    await tick(lab.ports, observing);
  }
}

const stateNow = async (): Promise<string | undefined> => {
  const record = await lab.record();
  return record?.active == null ? record?.history[0]?.state : stateOf(record.active);
};

const said = (text: string): string[] => lines.filter((line) => line.includes(text));

describe('to begin with', () => {
  test.each<[what: string, blind: (ports: Ports) => void, state: string, text: string]>([
    [
      'an endpoint that is gone ends it',
      (ports) => (ports.endpoints.read = gone),
      'failed',
      `Endpoint ${endpoint} does not exist.`,
    ],
    [
      'a version that is gone ends it',
      (ports) => (ports.models.readVersion = () => Promise.resolve(null)),
      'failed',
      `Version 2 of ${model} does not exist.`,
    ],
    [
      'an answer that says nothing of the version is asked for again',
      (ports) => (ports.models.readVersion = gone),
      'preparing',
      'Could not look (model.read): gone',
    ],
    [
      'an endpoint that does not answer is asked again',
      (ports) => (ports.endpoints.read = later),
      'preparing',
      'Could not look (endpoint.read): later',
    ],
  ])('%s', async (_what, blind, state, text) => {
    await begun();
    blind(lab.ports);
    await ticks(1);
    expect([await stateNow(), said(text).length > 0]).toEqual([state, true]);
  });
});

it('an operation that the platform has forgotten is over, and what came of it is found', async () => {
  await begun();
  await ticks(1);
  const { endpoints } = lab.ports;
  lab.ports.endpoints = { ...endpoints, readOperation: gone };
  await ticks(1);
  lab.ports.endpoints = endpoints;
  expect((await lab.record())?.active?.context.lastProblem).toContain('the operation is not known any more');
  await ticks(8);
  expect(await stateNow()).toBe('analysing');
});

describe('numbers', () => {
  test.each<[what: string, read: Ports['metrics']['read'], warning: string | null]>([
    ['that cannot be read are told', later, 'Could not read metrics: later'],
    ['of no window are none', (queries) => Promise.resolve(queries.map(() => [])), null],
    ['for which there is no answer are none', () => Promise.resolve([]), null],
    [
      'that are none, with a note, are told',
      (queries) =>
        Promise.resolve(
          queries.map(({ window }) => [{ window, source: 'monitoring', variants: {}, notes: ['no such metric'] }]),
        ),
      'no such metric',
    ],
  ])('%s, and the rollout goes on to its first share without a verdict', async (_what, read, warning) => {
    lab.ports.metrics.read = read;
    await begun();
    await ticks(10);
    expect(await stateNow()).toBe('analysing');
    expect((await lab.record())?.active?.context.verdicts).toEqual({ monitoring: null, proxy: null });
    expect(said('"WARNING"').every((line) => warning !== null && line.includes(warning))).toBe(true);
    expect(said('"WARNING"').length > 0).toBe(warning !== null);
  });
});
