import { describe, expect, test } from 'vitest';
import { BadData, evaluate, parsePromql, promqlName } from '../../emulator/monitoring/promql.ts';
import type { TimeSeries } from '../../emulator/world/state.ts';

const minuteMs = 60_000;

function series(
  name: string,
  labels: Record<string, string>,
  metricKind: TimeSeries['metricKind'],
  values: number[],
): TimeSeries {
  return {
    project: '1',
    metric: { type: `custom.googleapis.com/${name}`, labels },
    resource: { type: 'global', labels: { project_id: '1' } },
    metricKind,
    valueType: 'INT64',
    unit: '1',
    points: values.map((value, i) => ({
      startAt: metricKind === 'DELTA' ? i * minuteMs : 0,
      endAt: (i + 1) * minuteMs,
      value: { kind: 'int64', value },
    })),
  };
}

const world = [
  series('shown', { id: 'a', place: 'top' }, 'DELTA', [10, 20, 30]),
  series('shown', { id: 'a', place: 'foot' }, 'CUMULATIVE', [1, 3, 6]),
  series('shown', { id: 'b' }, 'DELTA', [100, 100, 100]),
  series('queue', { id: 'a' }, 'GAUGE', [7, 8, 9]),
  series('queue', { id: 'b' }, 'GAUGE', [1, 2, 3]),
];

const at = (minutes: number, text: string) =>
  Object.fromEntries(
    evaluate(parsePromql(text), world, minutes * minuteMs).map(({ labels, value }) => [labels['id'] ?? '', value]),
  );

describe('promql', () => {
  test('names have the first slash as a colon, and an underscore for what is no letter or digit', () => {
    expect(promqlName('aiplatform.googleapis.com/prediction/online/response_count')).toBe(
      'aiplatform_googleapis_com:prediction_online_response_count',
    );
  });

  test('increase counts what ended in the range, and counters from point to point', () => {
    const text = 'sum by (id) (increase(custom_googleapis_com:shown[1m]))';
    expect(at(2, text)).toEqual({ a: 22, b: 100 });
    expect(at(3, text.replace('1m', '120s'))).toEqual({ a: 55, b: 200 });
    expect(at(9, text)).toEqual({});
  });

  test('matchers compare labels, by text or by pattern', () => {
    const of = (matchers: string) => at(1, `sum by (id) (increase(custom_googleapis_com:shown{${matchers}}[1m]))`);
    expect(of('place="top"')).toEqual({ a: 10 });
    expect(of('place=~"t.p|f.*", id!="b"')).toEqual({ a: 11 });
    expect(of('place!~".+"')).toEqual({ b: 100 });
  });

  test('a selector gives the newest value of a gauge, and max and avg combine', () => {
    expect(at(2, 'custom_googleapis_com:queue{id="a"}')).toEqual({ a: 8 });
    expect(at(3, 'max by (none) (custom_googleapis_com:queue)')).toEqual({ '': 9 });
    expect(at(3, 'avg by (none) (custom_googleapis_com:queue)')).toEqual({ '': 6 });
    expect(at(60, 'custom_googleapis_com:queue')).toEqual({});
  });

  test('a division matches the labels of both sides', () => {
    const top = 'sum by (id) (increase(custom_googleapis_com:shown{place="top"}[1m]))';
    expect(at(1, `${top} / sum by (id) (increase(custom_googleapis_com:shown[1m]))`)).toEqual({ a: 10 / 11 });
  });

  test.each([
    'rate(custom_googleapis_com:shown[1m])',
    'sum(custom_googleapis_com:queue)',
    'custom_googleapis_com:queue > 1',
    'custom_googleapis_com:queue[5m]',
    'increase(custom_googleapis_com:shown)',
    'increase(custom_googleapis_com:shown[1y])',
    'custom_googleapis_com:queue{id=a}',
    'custom_googleapis_com:queue{id=~"("}',
    'sum by (id (custom_googleapis_com:queue)',
    'custom_googleapis_com:queue custom_googleapis_com:queue',
    '"text"',
    '',
    '('.repeat(1000),
  ])('refuses %s', (text) => {
    expect(() => evaluate(parsePromql(text), world, minuteMs)).toThrow(BadData);
  });

  test('refuses the increase of a gauge and the present value of a counter', () => {
    expect(() => at(1, 'increase(custom_googleapis_com:queue[1m])')).toThrow(/no increase/);
    expect(() => at(1, 'custom_googleapis_com:shown')).toThrow(/increase/);
  });
});
