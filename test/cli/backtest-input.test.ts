/** Is bad data refused with its place, or mended aloud, and never used silently? */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { distribution, int64, minute, policyText, timeSeries } from './backtest/series.ts';
import { startPerson } from './system-double.ts';

let person: Awaited<ReturnType<typeof startPerson>>;
beforeEach(async () => {
  person = await startPerson();
  await put('policy.yaml', policyText());
});
afterEach(() => person.close());

const put = (file: string, text: string) => writeFile(join(person.folder, file), text);
const plain = (text: string) => text.replaceAll(/\s+/g, ' ').replaceAll(`${person.folder}/`, '');
async function run(file: string, text: string, ...flags: string[]) {
  await put(file, text);
  const { code, out, err } = await person.run(['backtest', 'policy.yaml', '--data', file, '--lives', '1', ...flags]);
  return { code, out: plain(out), err: plain(err) };
}

const header = 'timestamp,variant,requests,errors';
const row = (i: number, requests: number | string = 100, errors: number | string = 0, variant = 'v1') =>
  `${minute(i)},${variant},${requests},${errors}`;
const table = (...rows: string[]) => [header, row(0), row(1), ...rows, row(8), row(9)].join('\n');

describe('a table', () => {
  test.each([
    ['negative', row(2, -5), 'a.csv:4: expected 0 or more requests, got -5'],
    ['fractional', row(2, '10.5'), 'a.csv:4: expected a whole number of requests, got 10.5; a rate'],
    ['not a number', row(2, 'NaN'), 'a.csv:4: expected a whole number of requests, got "NaN"'],
    ['infinite', row(2, 'Infinity'), 'got "Infinity"'],
    ['empty', row(2, ''), 'a.csv:4: expected a whole number of requests, got ""'],
    ['astronomical', row(2, '1e300'), 'expected at most 1e+12 requests, got 1e+300'],
    ['more errors than requests', row(2, 5, 6), 'a.csv:4: expected at most as many errors as requests (5), got 6'],
    ['cells missing', `${minute(2)},v1,5`, 'a.csv:4: expected 4 cells as in the header, got 3'],
    [
      'named like what every object has',
      row(2, 5, 0, 'constructor'),
      'expected the name of a variant, got "constructor"',
    ],
    ['quoted in part', `${minute(2)},v1,"5"7,0`, 'a.csv:4: expected quotes around whole cells'],
    ['dated by a year alone', '2026,v1,1,0', 'expected an instant with its zone'],
    ['of another century', '1976-01-01T00:00:00Z,v1,1,0', 'expected at most 500000 windows from first to last'],
    ['without a variant', row(2, 5, 0, ' '), 'expected the name of a variant'],
    ['without a zone', '2026-03-02T12:02:00,v1,1,0', 'expected an instant with its zone'],
    ['no instant', 'yesterday,v1,1,0', 'got "yesterday"'],
    ['off the grid', `${new Date(Date.parse(minute(2)) + 7000).toISOString()},v1,1,0`, 'expected a time in steps of'],
    [
      'another count at the same time',
      row(1, 99),
      'a.csv:4: expected one point at 2026-03-02T12:01:00Z, got another with other counts; the first is a.csv:3',
    ],
  ])('a row that is %s is refused with its line', async (_, bad, message) => {
    expect(await run('a.csv', table(bad))).toMatchObject({ code: 2, out: '', err: expect.stringContaining(message) });
  });

  test('every problem is named at once, up to ten', async () => {
    const { err } = await run('a.csv', table(row(2, -1), row(3, 'x'), row(4, 1, 2)));
    expect(err).toMatch(/a.csv:4: .* a.csv:5: .* a.csv:6: /);
    const many = await run('a.csv', table(...Array.from({ length: 50 }, () => row(2, -1))));
    expect(many.err.match(/a\.csv:\d+:/g)).toHaveLength(10);
    expect(many.err).toContain('perhaps more');
  });

  test.each([
    ['without a column', 'timestamp,variant,requests\n', 'a.csv:1: expected a column "errors"'],
    ['with bounds out of order', `${header},le_50,le_10\n`, 'a.csv:1: expected the columns le_… in ascending order'],
    ['that is empty', '', 'expected at least one window of requests, got none'],
    ['of one time', `${header}\n${row(1)}\n`, 'expected rows of at least two times'],
    [
      'whose cumulative bounds fall',
      `${header},le_10,le_50\n${row(0)},7,5\n`,
      'expected le_50 to be at least le_10 (7), got 5',
    ],
    [
      'with more below a bound than requests',
      `${header},le_10\n${row(0)},101\n`,
      'expected requests to be at least le_10 (101), got 100',
    ],
  ])('a table %s is refused', async (_, text, message) => {
    expect(await run('a.csv', text)).toMatchObject({ code: 2, err: expect.stringContaining(message) });
  });

  test('a copy of a row is left out, and a row out of order sorted in, with a note of the line', async () => {
    const { code, out } = await run('a.csv', table(row(1), row(5), row(4)));
    expect(code).not.toBe(2);
    expect(out).toContain('a copy of an earlier point was left out (a.csv:4)');
    expect(out).toContain('a row is earlier than the one before it, and was sorted in (a.csv:6)');
  });

  test('a gap is noted, and a point a day late leaves one', async () => {
    const { out } = await run('a.csv', table(row(1440)));
    expect(out).toContain('nothing was recorded for 6m from 2026-03-02T12:02:00Z');
    expect(out).toMatch(/nothing was recorded for 23h 50m/);
  });

  test('a counter that only rises is not taken for counts', async () => {
    const counter = (i: number) => row(i, 1000 + 100 * i, i);
    const rows = Array.from({ length: 30 }, (_, i) => counter(i));
    const text = [header, ...rows].join('\n');
    expect((await run('a.csv', text)).err).toContain('as a counter does; if it is one, give --cumulative');
    const { out } = await run('a.csv', text, '--cumulative');
    expect(out).toContain('Stable v1: 29 errors in 2,900 requests');
    expect(out).toContain('the first reading of a counter has none before it, and was left out (a.csv:2)');
  });

  test('a counter that was reset counts from there, and one that was not read for long leaves a gap', async () => {
    const rows = [row(0, 500), row(1, 600), row(2, 30), row(3, 50), row(7, 450), row(8, 460)];
    const { out } = await run('a.csv', [header, ...rows].join('\n'), '--cumulative');
    expect(out).toContain('a counter was reset; what it shows since then was counted (a.csv:4)');
    expect(out).toContain('a counter was not read for longer than a window');
    expect(out).toContain('0 errors in 160 requests');
  });

  test('rows can be summed into longer windows, and not cut into shorter ones', async () => {
    expect((await run('a.csv', table(), '--window', '2m')).out).toContain('2 windows of 2m');
    expect((await run('a.csv', table(), '--window', '30s')).err).toContain('expected --window to be a multiple of 1m');
  });

  test('quoted cells, a byte order mark and Windows line ends are read', async () => {
    const text = `\uFEFF"timestamp","variant","requests","errors"\r\n"${minute(0)}","a ""b"", c",5,1\r\n"${minute(1)}","a ""b"", c",5,1\r\n`;
    expect((await run('a.csv', text)).out).toContain('Stable a "b", c: 2 errors in 10 requests');
  });

  test('a file of another kind is refused, and does not fill the screen', async () => {
    const { code, err } = await run('a.csv', `${'\u0000'.repeat(3000)}\n`);
    expect(code).toBe(2);
    expect(err.length).toBeLessThan(600);
    expect((await run('a.csv', 'x'.repeat(2_000_000))).err).toContain('more than 1 MiB without an end');
  });

  test('more variants than a service can have are refused', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => row(0, 1, 0, `user-${i}`));
    expect((await run('a.csv', table(...rows))).err).toContain('expected at most 32 variants');
  });
});

describe('a log of requests', () => {
  const line = (at: string | number, more: object = {}) =>
    JSON.stringify({ timestamp: at, variant: 'v1', status: 200, ...more });
  const log = (...lines: string[]) => [line(minute(0)), line(minute(1)), ...lines].join('\n');

  test.each([
    ['is no JSON', '{"timestamp":', 'a.jsonl:3: expected a JSON object, got'],
    ['is no object', '[1]', 'a.jsonl:3: '],
    ['has a status that is none', line(minute(2), { status: 0 }), 'a.jsonl:3: status'],
    ['has no status', line(minute(2), { status: undefined }), 'a.jsonl:3: status'],
    ['has a negative latency', line(minute(2), { latencyMs: -1 }), 'a.jsonl:3: latencyMs'],
    ['has a latency of a century', line(minute(2), { latencyMs: 3e12 }), 'a.jsonl:3: latencyMs'],
    ['has a prediction that is no number', line(minute(2), { prediction: 'spam' }), 'a.jsonl:3: prediction'],
    ['has no instant', line('soon'), 'a.jsonl:3: expected an instant'],
    ['has no variant', line(minute(2), { variant: '' }), 'a.jsonl:3: expected the name of a variant'],
  ])('a line that %s is refused', async (_, bad, message) => {
    expect(await run('a.jsonl', log(bad))).toMatchObject({ code: 2, err: expect.stringContaining(message) });
  });

  test('a request a day late is left out with a note: the rule would not have seen it', async () => {
    const lines = Array.from({ length: 200 }, (_, i) => line(minute(1440 + i / 10)));
    const { code, out } = await run('a.jsonl', [...lines, line(minute(0)), line(minute(1460))].join('\n'));
    expect(code).not.toBe(2);
    expect(out).toContain(
      'logged more than 10 minutes late, when its window had been judged; it was left out (a.jsonl:201)',
    );
    expect(out).toContain('in 201 requests');
  });

  test('a clock that went back, or jumped ahead, is refused with the line that was ahead', async () => {
    const back = Array.from({ length: 20 }, (_, i) => line(minute(i)));
    const { code, err } = await run('a.jsonl', [line(minute(0)), line(minute(600)), ...back].join('\n'));
    expect(code).toBe(2);
    expect(err).toContain('a.jsonl:2: expected lines in order of time, got 20 of 22 more than 10 minutes before');
  });

  test('lines some seconds out of order are counted where they belong', async () => {
    const { out } = await run('a.jsonl', log(line(minute(2)), line(minute(3)), line(minute(2.5))));
    expect(out).toContain('0 errors in 5 requests');
    expect(out.match(/Note/g)).toEqual(['Note']);
    expect(out).toContain('Note: latency is not judged: the recording has no numbers for it');
  });

  test('a window for every millisecond of a year is refused, with what to do', async () => {
    const lines = Array.from({ length: 50_010 }, (_, i) => line(minute(i)));
    expect((await run('a.jsonl', lines.join('\n'))).err).toContain(
      'expected at most 50000 windows; give --window more than 1m',
    );
  });

  test('epoch seconds and milliseconds are told apart', async () => {
    const at = Date.parse(minute(0));
    const { out } = await run(
      'a.jsonl',
      [line(at / 1000), line(at + 60_000), line(String(at / 1000 + 120))].join('\n'),
    );
    expect(out).toContain('3 windows of 1m, 2026-03-02T11:59:00Z to 2026-03-02T12:02:00Z');
  });
});

describe('an export of Cloud Monitoring', () => {
  const ok = [int64(10), int64(11), int64(12)];
  const counts = (values = ok, more: object = {}) => ({
    ...timeSeries('response_count', { id: '7', code: '200' }, values),
    ...more,
  });
  const asFile = (...timeSeriesList: unknown[]) => JSON.stringify({ timeSeries: timeSeriesList });

  test.each([
    ['a negative count', [int64(10), int64(-1)], 'a.json timeSeries[0].points[0]: expected 0 or more requests, got -1'],
    ['a fraction', [int64(10), int64('1.5')], 'points[0]: expected a whole number of requests, got 1.5'],
    ['a rate', [int64(10), { doubleValue: 0.5 }], 'points[0]: expected an int64Value, got doubleValue'],
    ['an astronomical count', [int64('99999999999999999999')], 'expected at most 1e+12 requests'],
  ])('%s is refused with its series and point', async (_, values, message) => {
    expect(await run('a.json', asFile(counts(values)))).toMatchObject({
      code: 2,
      err: expect.stringContaining(message),
    });
  });

  test('buckets that do not sum to the count, or are missing, are refused', async () => {
    const odd = {
      distributionValue: { count: '5', bucketOptions: { explicitBuckets: { bounds: [1] } }, bucketCounts: ['1', '1'] },
    };
    const bare = { distributionValue: { count: '5', mean: 3, bucketCounts: [] } };
    const of = (value: Parameters<typeof timeSeries>[2][number]) =>
      asFile(counts(), timeSeries('prediction_latencies', { id: '7' }, [value]));
    expect((await run('a.json', of(odd))).err).toContain(
      'timeSeries[1].points[0]: the buckets hold 2 values, but count is 5',
    );
    expect((await run('a.json', of(bare))).err).toContain('expected a distribution with buckets');
  });

  test('a histogram with other bounds than before is brought onto the shared ones aloud, or refused when there are none', async () => {
    const latencies = (...bounds: number[][]) =>
      asFile(
        counts(),
        timeSeries(
          'prediction_latencies',
          { id: '7' },
          bounds.map((each) => distribution([3, ...each.map(() => 1)], each)),
        ),
      );
    const { code, out } = await run('a.json', latencies([10, 100, 500], [10, 100, 1000], [10, 100]));
    expect(code).not.toBe(2);
    expect(out).toContain(
      'the histogram of latencies has other bounds than before; only those that all have are compared',
    );
    expect((await run('a.json', latencies([10, 100], [7, 70]))).err).toContain(
      'expected latencies with bounds as before, got none of them',
    );
  });

  test('a point that two pages have is counted once, and two that differ are refused', async () => {
    const pages = (...values: (typeof ok)[]) => JSON.stringify(values.map((each) => ({ timeSeries: [counts(each)] })));
    const { out } = await run('a.json', pages(ok, ok));
    expect(out).toContain('0 errors in 33 requests');
    expect(out).toContain(
      'a copy of an earlier point was left out (3 times, first a.json [1] timeSeries[0].points[0])',
    );
    expect((await run('a.json', pages(ok, [int64(10), int64(11), int64(99)]))).err).toContain(
      'got another with other counts; the first is a.json [0] timeSeries[0].points[0]',
    );
  });

  test('cumulative series become what was added, across a reset', async () => {
    const values = [int64(100), int64(110), int64(7), int64(9)];
    const { out } = await run('a.json', asFile(counts(values, { metricKind: 'CUMULATIVE' })));
    expect(out).toContain('0 errors in 19 requests');
    expect(out).toContain('a counter was reset');
  });

  test('points of another length, a gauge, missing pages and partial answers are refused', async () => {
    const long = counts();
    const [first, ...others] = long.points;
    const mixed = {
      ...long,
      points: [{ ...first, interval: { startTime: minute(-5), endTime: minute(3) } }, ...others],
    };
    expect((await run('a.json', asFile(mixed))).err).toContain(
      'expected an interval of 480 s as before, got 60 s; export with one alignmentPeriod',
    );
    expect((await run('a.json', asFile(counts(ok, { metricKind: 'GAUGE' })))).err).toContain(
      'expected counts (DELTA or CUMULATIVE), got GAUGE',
    );
    expect((await run('a.json', JSON.stringify({ timeSeries: [counts()], nextPageToken: 'x' }))).err).toContain(
      'put all pages into one array',
    );
    expect((await run('a.json', JSON.stringify({ timeSeries: [counts()], executionErrors: [{}] }))).err).toContain(
      'expected a whole answer',
    );
    expect((await run('a.json', '{"hello":1}')).err).toContain('expected at least one window');
    expect((await run('a.json', '{"timeSeries":[{}]}')).err).toContain('timeSeries.0.metric');
    expect((await run('a.json', '{')).err).toContain('Expected the JSON of ListTimeSeries');
  });

  test('series of another endpoint are left out aloud, and of none that the policy names refused', async () => {
    const at = (endpoint: string) => timeSeries('response_count', { id: '7', code: '200', endpoint }, ok);
    const { out } = await run('a.json', asFile(at('456'), at('789')));
    expect(out).toContain('0 errors in 33 requests');
    expect(out).toContain('series of other endpoints than 456 were left out');
    expect((await run('a.json', asFile(at('1'), at('2')))).err).toContain('expected series of endpoint 456');
  });

  test('a metric that the rule does not read is named', async () => {
    const { out } = await run('a.json', asFile(counts(), timeSeries('cpu/utilization', { id: '7' }, ok)));
    expect(out).toContain('cpu/utilization is not read');
  });
});
