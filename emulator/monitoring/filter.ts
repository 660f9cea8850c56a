/** Which time series does a Monitoring filter mean? The subset that names one metric type and compares labels. */
import type { TimeSeries } from '../world/state.ts';
import { WorldError } from '../world/world.ts';

export interface SeriesFilter {
  metricType: string;
  matches: (series: TimeSeries) => boolean;
}

/** `field = "value"`, `field != "value"` or `field = one_of("a", "b")`. */
const TERM = /^([\w.]+)\s*(!=|=)\s*(?:"([^"]*)"|one_of\(\s*("[^"]*"(?:\s*,\s*"[^"]*")*)\s*\))$/;
const LABEL = /^(metric|resource)\.labels?\.(\w+)$/;

/**
 * Parses terms joined by AND on metric.type, resource.type, metric.labels.X and resource.labels.X. Throws
 * INVALID_ARGUMENT for anything else, and unless exactly one metric type is named.
 */
export function parseFilter(filter: string): SeriesFilter {
  const types: string[] = [];
  const tests = splitTerms(filter).map((term) => {
    const [, field = '', operator = '', value, list] = TERM.exec(term) ?? refuse(filter, term);
    const values =
      value === undefined ? [...(list ?? '').matchAll(/"([^"]*)"/g)].map(([, item = '']) => item) : [value];
    const isWanted = operator === '=';
    if (field === 'metric.type') {
      const [type] = values;
      if (!isWanted || values.length !== 1 || type === undefined) refuse(filter, term);
      else types.push(type);
      return (): boolean => true;
    }
    const read = reader(field) ?? refuse(filter, term);
    return (series: TimeSeries): boolean => values.includes(read(series) ?? '') === isWanted;
  });
  const [metricType] = types;
  if (types.length !== 1 || metricType === undefined) {
    throw new WorldError('INVALID_ARGUMENT', `The filter must name one metric.type, got ${types.length}: ${filter}`);
  }
  return { metricType, matches: (series) => tests.every((test) => test(series)) };
}

/** Returns how to read `metric.label.X` or `resource.labels.X` of a series; null for any other field. */
export function labelReader(field: string): ((series: TimeSeries) => string | undefined) | null {
  const [, side, name = ''] = LABEL.exec(field) ?? [];
  if (side === 'metric') return (series) => series.metric.labels[name];
  if (side === 'resource') return (series) => series.resource.labels[name];
  return null;
}

function reader(field: string): ((series: TimeSeries) => string | undefined) | null {
  return field === 'resource.type' ? (series) => series.resource.type : labelReader(field);
}

/** Splits at AND outside of quotes. */
function splitTerms(filter: string): string[] {
  const terms = filter.match(/(?:"[^"]*"|[^"])+?(?=\s+AND\s+|$)/g) ?? [];
  return terms.map((term) => term.replace(/^\s*AND\s+/, '').trim());
}

function refuse(filter: string, term: string): never {
  throw new WorldError(
    'INVALID_ARGUMENT',
    `The filter term "${term}" is not understood; expected metric.type, resource.type, metric.labels.X or ` +
      `resource.labels.X, = or !=, and "text" or one_of("a", "b"), joined by AND. The filter was: ${filter}`,
  );
}
