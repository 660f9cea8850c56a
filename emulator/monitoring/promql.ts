/**
 * What does a PromQL expression say at an instant? The part of the language that checks need; anything else is refused.
 *
 *     sum by (a, b) (EXPR) · avg by … · max by …      EXPR / EXPR      increase(NAME{a="x", b=~"y.*"}[60s])      NAME{…}
 *
 * Names are Monitoring's with the first slash as a colon and whatever else is no letter or digit as an underscore. A
 * distribution is NAME_bucket (with `le`), NAME_count and NAME_sum.
 */
import type { PointValue, TimeSeries } from '../world/state.ts';
import { toDeltas } from './aggregate.ts';

/** Prometheus' `bad_data`: the expression is not understood. */
export class BadData extends Error {}

export interface Sample {
  labels: Record<string, string>;
  value: number;
}

type Labels = Record<string, string>;
type Test = (labels: Labels) => boolean;

interface Selector {
  name: string;
  tests: Test[];
}

export type Expression =
  | { kind: 'aggregate'; operator: 'sum' | 'avg' | 'max'; by: string[]; of: Expression }
  | { kind: 'divide'; dividend: Expression; divisor: Expression }
  | { kind: 'increase'; selector: Selector; rangeMs: number }
  | { kind: 'instant'; selector: Selector };

/** Prometheus' default: a value is the present one for so long. */
const lookbackMs = 5 * 60_000;
const unitsMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const depthMax = 20;

const TOKEN = /\s*(=~|!=|!~|[=(){}[\],/]|"(?:[^"\\]|\\.)*"|[A-Za-z0-9_:.]+)/y;

/** Throws BadData for all but the part of PromQL above. */
export function parsePromql(text: string): Expression {
  const tokens = tokensOf(text);
  let at = 0;

  function take(expected?: string): string {
    const token = tokens[at];
    if (token === undefined || (expected !== undefined && token !== expected)) {
      throw new BadData(`expected ${expected ?? 'more'}, got ${token ?? 'the end'}; ${supported}`);
    }
    at += 1;
    return token;
  }

  function listUntil<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (tokens[at] !== end) {
      items.push(item());
      if (tokens[at] !== end) take(',');
    }
    take(end);
    return items;
  }

  function expression(depth: number): Expression {
    let left = term(depth);
    while (tokens[at] === '/') {
      take('/');
      left = { kind: 'divide', dividend: left, divisor: term(depth) };
    }
    return left;
  }

  function term(depth: number): Expression {
    if (depth > depthMax) throw new BadData(`the expression is nested more than ${depthMax} times`);
    if (tokens[at] === '(') return enclosed(() => expression(depth + 1));
    const name = take();
    const next = tokens[at];
    if ((name === 'sum' || name === 'avg' || name === 'max') && next === 'by') {
      take('by');
      take('(');
      const by = listUntil(')', () => take());
      return { kind: 'aggregate', operator: name, by, of: enclosed(() => expression(depth + 1)) };
    }
    if (name === 'increase' && next === '(') {
      return enclosed(() => {
        const selector = selectorOf(take());
        take('[');
        const rangeMs = durationMs(take());
        take(']');
        return { kind: 'increase', selector, rangeMs };
      });
    }
    return { kind: 'instant', selector: selectorOf(name) };
  }

  function enclosed<T>(inner: () => T): T {
    take('(');
    const found = inner();
    take(')');
    return found;
  }

  function selectorOf(name: string): Selector {
    if (!/^[A-Za-z_:][A-Za-z0-9_:]*$/.test(name))
      throw new BadData(`expected a metric's name, got ${name}; ${supported}`);
    if (tokens[at] !== '{') return { name, tests: [] };
    take('{');
    return { name, tests: listUntil('}', matcher) };
  }

  function matcher(): Test {
    const label = take();
    const operator = take();
    const quoted = take();
    if (!quoted.startsWith('"')) throw new BadData(`expected a text in quotes, got ${quoted}`);
    const value = unquoted(quoted);
    if (operator === '=') return (labels) => (labels[label] ?? '') === value;
    if (operator === '!=') return (labels) => (labels[label] ?? '') !== value;
    if (operator !== '=~' && operator !== '!~') throw new BadData(`expected =, !=, =~ or !~, got ${operator}`);
    const pattern = patternOf(value);
    return (labels) => pattern.test(labels[label] ?? '') === (operator === '=~');
  }

  const found = expression(0);
  if (at < tokens.length) throw new BadData(`expected the end, got ${tokens[at]}; ${supported}`);
  return found;
}

/** The value at an instant, of the series as they are visible now. */
export function evaluate(expression: Expression, series: TimeSeries[], at: number): Sample[] {
  switch (expression.kind) {
    case 'instant':
      return series.flatMap((one) => instantOf(one, expression.selector, at));
    case 'increase':
      return series.flatMap((one) => increaseOf(one, expression.selector, at - expression.rangeMs, at));
    case 'divide':
      return quotients(evaluate(expression.dividend, series, at), evaluate(expression.divisor, series, at));
    case 'aggregate': {
      const { by, operator } = expression;
      const samples = evaluate(expression.of, series, at).map(({ labels, value }) => ({
        // A label that is absent is one that is empty.
        labels: Object.fromEntries(by.flatMap((name) => (labels[name] ? [[name, labels[name]]] : []))),
        value,
      }));
      const groups = Map.groupBy(samples, ({ labels }) => keyOf(labels));
      return Array.from(groups.values(), (group) => ({
        labels: group[0]?.labels ?? {},
        value: reducers[operator](group.map(({ value }) => value)),
      }));
    }
  }
}

/** `a.b.com/c/d` is `a_b_com:c_d`. */
export function promqlName(metricType: string): string {
  return metricType.replace('/', ':').replaceAll(/[^A-Za-z0-9_:]/g, '_');
}

const supported = 'the emulator knows sum|avg|max by (…) (…), increase(NAME{…}[60s]), NAME{…} and / only';

const reducers = {
  sum: (values: number[]) => values.reduce((total, value) => total + value, 0),
  avg: (values: number[]) => values.reduce((total, value) => total + value, 0) / values.length,
  max: (values: number[]) => values.reduce((a, b) => Math.max(a, b)),
};

function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const from = TOKEN.lastIndex;
    const [, token] = TOKEN.exec(text) ?? [];
    if (token === undefined)
      throw new BadData(`unexpected character at ${from}: ${text.slice(from, from + 20)}; ${supported}`);
    tokens.push(token);
  }
  return tokens;
}

function unquoted(text: string): string {
  return text.slice(1, -1).replaceAll(/\\(.)/g, '$1');
}

function patternOf(value: string): RegExp {
  try {
    return new RegExp(`^(?:${value})$`);
  } catch {
    throw new BadData(`"${value}" is no regular expression`);
  }
}

function durationMs(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)(ms|s|m|h|d)$/.exec(text) ?? [];
  const ms = Number(count) * (unitsMs[unit] ?? 0);
  if (!(ms > 0)) throw new BadData(`expected a duration such as 60s, got ${text}`);
  return ms;
}

function labelsOf({ metric, resource, project }: TimeSeries): Labels {
  return { monitored_resource: resource.type, project_id: project, ...resource.labels, ...metric.labels };
}

/** What a selector finds in a series: the part of its values that the name means, and the labels. */
function partsOf(
  series: TimeSeries,
  { name, tests }: Selector,
): { labels: Labels; read: (value: PointValue) => number }[] {
  const own = promqlName(series.metric.type);
  const parts =
    series.valueType === 'DISTRIBUTION' ? distributionParts(series, own, name) : [{ labels: {}, read: numberOf }];
  if (series.valueType !== 'DISTRIBUTION' && name !== own) return [];
  return parts
    .map(({ labels, read }) => ({ labels: { ...labelsOf(series), ...labels }, read }))
    .filter(({ labels }) => tests.every((test) => test(labels)));
}

function distributionParts(
  series: TimeSeries,
  own: string,
  name: string,
): { labels: Labels; read: (value: PointValue) => number }[] {
  if (name === `${own}_count`) return [{ labels: {}, read: (value) => fromDistribution(value, ({ count }) => count) }];
  if (name === `${own}_sum`) {
    return [{ labels: {}, read: (value) => fromDistribution(value, ({ count, mean }) => count * mean) }];
  }
  if (name !== `${own}_bucket`) return [];
  const newest = series.points.at(-1)?.value;
  const bounds = newest?.kind === 'distribution' ? newest.bounds : [];
  return [...bounds, Number.POSITIVE_INFINITY].map((bound, i) => ({
    labels: { le: i < bounds.length ? String(bound) : '+Inf' },
    read: (value: PointValue) =>
      fromDistribution(value, ({ counts }) => counts.slice(0, i + 1).reduce((total, count) => total + count, 0)),
  }));
}

function fromDistribution(
  value: PointValue,
  read: (distribution: Extract<PointValue, { kind: 'distribution' }>) => number,
): number {
  return value.kind === 'distribution' ? read(value) : 0;
}

function numberOf(value: PointValue): number {
  if (value.kind === 'distribution') return 0;
  return Number(value.value);
}

function instantOf(series: TimeSeries, selector: Selector, at: number): Sample[] {
  const parts = partsOf(series, selector);
  if (parts.length > 0 && series.metricKind !== 'GAUGE') {
    throw new BadData(`${selector.name} counts; the emulator gives its increase(${selector.name}[60s]) only`);
  }
  const point = series.points.findLast(({ endAt }) => endAt <= at && endAt > at - lookbackMs);
  return point === undefined ? [] : parts.map(({ labels, read }) => ({ labels, value: read(point.value) }));
}

/** Without Prometheus' extrapolation to the ends of the range: points of the emulator are exact. */
function increaseOf(series: TimeSeries, selector: Selector, fromAt: number, toAt: number): Sample[] {
  const parts = partsOf(series, selector);
  if (parts.length > 0 && series.metricKind === 'GAUGE')
    throw new BadData(`${selector.name} is a gauge, which has no increase`);
  const points = toDeltas(series).points.filter(({ endAt }) => endAt > fromAt && endAt <= toAt);
  if (points.length === 0) return [];
  return parts.map(({ labels, read }) => ({
    labels,
    value: points.reduce((total, { value }) => total + read(value), 0),
  }));
}

/** Those with the same labels on both sides. */
function quotients(dividends: Sample[], divisors: Sample[]): Sample[] {
  const byKey = new Map(divisors.map((sample) => [keyOf(sample.labels), sample.value]));
  return dividends.flatMap(({ labels, value }) => {
    const divisor = byKey.get(keyOf(labels));
    return divisor === undefined ? [] : [{ labels, value: value / divisor }];
  });
}

function keyOf(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
