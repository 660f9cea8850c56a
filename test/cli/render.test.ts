import { stripVTControlCharacters } from 'node:util';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { renderRollout } from '../../cli/render.ts';
import { renderJournal, renderList } from '../../cli/tables.ts';
import { clean, roughly, row, wrap } from '../../cli/text.ts';
import { rolloutStates } from '../../machines/rollout/view.ts';
import { exampleView, NOW } from './example-view.ts';

const plain = { width: 100, now: NOW, color: false };

test('a rollout is one screen: where it is, who gets what, what was found, what comes next', () => {
  expect(renderRollout(exampleView(), plain)).toEqual([
    'delays@3 → us-central1/456                                                               ● analysing',
    'us-central1~456~1 · policy delays · by anna · for 25m',
    '',
    '━━━━━━━━━━━━━━ 5% ━━━━━━━━━━━━━━ 25% ────────────── 50% ⚑ ────────────── 100%',
    'canary has 25% · step 2 of 4 · ⚑ a person approves before it goes on',
    '',
    'canary    delays@3  25% ██████░░░░░░░░░░░░░░░░░░  seen 24.6%  1,204 req  3 err 0.25%  41 ms',
    'stable    delays@2  75% ██████████████████░░░░░░  seen 75.4%  3,687 req     0 err 0%',
    '',
    'healthy   monitoring: errors 0.25% against 0% of stable, margin 0.5%',
    'now       The evidence is healthy; the hold goes on.',
    'next      in 4m 10s: the hold of 25% ends',
  ]);
});

test('a pause says who, when and why', () => {
  const paused = { at: NOW - 60_000, by: 'bob', reason: 'marketing mail' };
  const text = renderRollout(exampleView({ paused }), plain).join('\n');
  expect(text).toContain('‖ paused while analysing');
  expect(text).toContain('paused    by bob 1m ago: marketing mail');
});

test('what ended says how long it took, and nothing is due', () => {
  const view = exampleView({
    state: 'rolledBack',
    isFinal: true,
    percent: 0,
    next: null,
    endedAt: NOW,
    reason: 'Errors.',
  });
  const lines = renderRollout(view, plain);
  expect(lines[0]).toMatch(/✗ rolled back$/);
  expect(lines[1]).toContain('took 25m');
  expect(lines.at(-1)).toBe('ended     Errors.');
});

test('what is not known is not shown as a number', () => {
  const [canary, ...others] = exampleView().variants;
  if (canary === undefined) throw new Error('expected a canary');
  const unseen = { ...canary, requests: 0, errors: 0, observedPercent: null, latencyMs: null };
  const text = renderRollout(exampleView({ variants: [unseen, ...others] }), plain).join('\n');
  expect(text).toMatch(/canary .* none seen +0 req +0 err$/m);
});

test('no line is wider than the terminal, in any state, whatever the names and reasons', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...rolloutStates),
      fc.integer({ min: 40, max: 200 }),
      fc.string({ maxLength: 300 }),
      fc.option(fc.nat(3)),
      (state, width, text, stepIndex) => {
        const view = exampleView({ state, reason: text, policy: text, model: text, stepIndex, by: text });
        const widths = renderRollout(view, { width, now: NOW, color: false }).map((line) => line.length);
        expect(Math.max(...widths)).toBeLessThanOrEqual(width);
      },
    ),
    { numRuns: 200 },
  );
});

test('colour adds escape codes and changes no character', () => {
  const colored = renderRollout(exampleView(), { ...plain, color: true }).join('\n');
  expect(colored).toContain('\u001B[');
  expect(stripVTControlCharacters(colored)).toBe(renderRollout(exampleView(), plain).join('\n'));
});

test('text from elsewhere cannot steer the terminal', () => {
  const reason = 'bad \u001B[2J\u001B]0;title\u0007 \u202Eevil\r\nsecond line';
  const text = renderRollout(exampleView({ reason, id: reason, policy: reason, model: reason }), plain).join('');
  expect(text).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  expect(clean('a\u001B[0mb')).toBe('a [0mb');
});

test('a list is a table, and says what to do when there is nothing in it', () => {
  const views = [exampleView(), exampleView({ id: 'b', state: 'promoted', isFinal: true, percent: 100 })];
  expect(renderList(views, plain)).toEqual([
    'ROLLOUT            STATE      SHARE  VERSION   ENDPOINT         CHANGED',
    'us-central1~456~1  analysing  25%    delays@3  us-central1/456  20s ago',
    'b                  promoted   100%   delays@3  us-central1/456  20s ago',
  ]);
  expect(renderList([], plain).join('\n')).toContain('rollouts bless');
});

test('a journal keeps every word, over several lines where it must', () => {
  const text = 'The canary had 40 errors in 900 requests, where stable had 3 in 2,700; that is worse.';
  const entry = {
    at: NOW,
    event: 'evidence.observed',
    by: null,
    from: 'analysing',
    to: 'rollingBack',
    text,
    detail: {},
  };
  expect(renderJournal([entry, { ...entry, by: 'anna', from: 'x', to: 'x' }], { width: 60, color: false })).toEqual([
    '2026-11-20T12:00:00.000Z  analysing → rollingBack  evidence…',
    '  The canary had 40 errors in 900 requests, where stable had',
    '  3 in 2,700; that is worse.',
    '2026-11-20T12:00:00.000Z  x  evidence.observed  by anna',
    '  The canary had 40 errors in 900 requests, where stable had',
    '  3 in 2,700; that is worse.',
  ]);
});

describe('text', () => {
  test.each([
    [0, '0s'],
    [499, '0s'],
    [12_000, '12s'],
    [250_000, '4m 10s'],
    [3_600_000, '1h'],
    [3_780_000, '1h 3m'],
    [190_800_000, '2d 5h'],
    [-5, '0s'],
  ])('%d ms is about %s', (ms, text) => {
    expect(roughly(ms)).toBe(text);
  });

  test('a row is cut with an ellipsis, and its end has no spaces', () => {
    expect(
      row(
        [
          ['abc', null],
          ['def', 'bold'],
        ],
        5,
        false,
      ),
    ).toBe('abcd…');
    expect(
      row(
        [
          ['abc', null],
          ['   ', null],
        ],
        5,
        false,
      ),
    ).toBe('abc');
    expect(
      row(
        [
          ['abc', null],
          ['def', null],
        ],
        6,
        false,
      ),
    ).toBe('abcdef');
    expect(row([], 5, true)).toBe('');
  });

  test('paragraphs keep their words in order', () => {
    expect(wrap('one two three', 8)).toEqual(['one two', 'three']);
    expect(wrap('', 8)).toEqual([]);
  });
});
