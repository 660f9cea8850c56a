/**
 * What does a table of counts say? CSV with a header: timestamp, variant, requests, errors, and, where latencies were
 * measured, one column le_10, le_50, … for each bound in ms, with how many requests took at most so long.
 */
import { type Histogram, noHistogram } from '../../machines/analysis/evidence.ts';
import type { World } from '../world.ts';
import { linesOf, progressOf } from './lines.ts';
import { createFindings, finishRecording, type Findings, type Recording } from './recording.ts';
import { createTable, type Table } from './table.ts';
import { BadValue, countOf, fromCumulative, got, instantOf, variantOf } from './values.ts';

export interface CsvOptions {
  windowMs: number | null;
  /** Columns are counters since some beginning, read at their timestamp. */
  isCumulative: boolean;
}

interface Columns {
  timestamp: number;
  variant: number;
  requests: number;
  errors: number;
  latencies: { column: number; boundMs: number }[];
  width: number;
}

const names: Record<'timestamp' | 'variant' | 'requests' | 'errors', string[]> = {
  timestamp: ['timestamp', 'time'],
  variant: ['variant', 'version', 'deployed_model_id', 'deployedmodelid'],
  requests: ['requests', 'count'],
  errors: ['errors'],
};

/** Reads the file. Throws a CliError that names every line that cannot be used. */
export async function readCsv(world: World, path: string, options: CsvOptions): Promise<Recording> {
  const findings = createFindings();
  const stampedAt = options.isCumulative ? 'end' : 'begin';
  const table = createTable(
    { file: path, stampedAt, isOrdered: true, isCumulative: () => options.isCumulative, windowMs: options.windowMs },
    findings,
  );
  const progress = progressOf(world);
  let columns: Columns | null = null;
  for await (const { text, number } of linesOf(path)) {
    const place = `${path}:${number}`;
    progress(() => `Reading ${place} …`);
    if (columns === null) columns = columnsOf(text, place, findings);
    else addRow(table, columns, text, place, findings);
  }
  const { windows, windowMs } = table.finish();
  return finishRecording(path, windows, windowMs, findings);
}

function addRow(table: Table, columns: Columns, text: string, place: string, findings: Findings): void {
  try {
    const cells = cellsOf(text);
    if (cells.length !== columns.width) {
      throw new BadValue(`expected ${columns.width} cells as in the header, got ${cells.length}`);
    }
    const variant = variantOf(cells[columns.variant]);
    const requests = countOf('requests', cells[columns.requests]);
    const errors = countOf('errors', cells[columns.errors]);
    if (errors > requests)
      throw new BadValue(`expected at most as many errors as requests (${requests}), got ${errors}`);
    const counts = { requests, errors, latencyMs: latenciesOf(columns, cells, requests) };
    table.add({ place, series: variant, variant, at: instantOf(cells[columns.timestamp]), counts });
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    findings.refuse(place, error.message);
  }
}

function latenciesOf({ latencies }: Columns, cells: string[], requests: number): Histogram {
  if (latencies.length === 0) return noHistogram;
  const atMost = latencies.map(({ column, boundMs }) => countOf(`requests in le_${boundMs}`, cells[column]));
  return fromCumulative(
    latencies.map(({ boundMs }) => boundMs),
    atMost,
    requests,
  );
}

/** Finds the columns. Throws a CliError when one is missing: nothing below could be read. */
function columnsOf(text: string, place: string, findings: Findings): Columns {
  const header = text.replaceAll('"', '');
  const cells = header.split(',').map((cell) => cell.trim().toLowerCase());
  const find = (name: keyof typeof names): number => {
    const column = cells.findIndex((cell) => names[name].includes(cell));
    if (column === -1) findings.refuse(place, `expected a column "${name}", got ${got(header)}`);
    return column;
  };
  const latencies = cells.flatMap((cell, column) => {
    const bound = /^le_(\d+(?:\.\d+)?)$/.exec(cell)?.[1];
    return bound === undefined ? [] : [{ column, boundMs: Number(bound) }];
  });
  const isAscending = latencies.every(({ boundMs }, i) => i === 0 || boundMs > (latencies[i - 1]?.boundMs ?? 0));
  if (!isAscending) findings.refuse(place, 'expected the columns le_… in ascending order, each once');
  const columns = {
    timestamp: find('timestamp'),
    variant: find('variant'),
    requests: find('requests'),
    errors: find('errors'),
    latencies,
    width: cells.length,
  };
  findings.settle();
  return columns;
}

/** The cells of a line; quoted ones may hold commas and doubled quotes, and no line break. Throws a BadValue. */
function cellsOf(line: string): string[] {
  if (!line.includes('"')) return line.split(',').map((cell) => cell.trim());
  const cells = [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,"]*))/g)];
  const read = cells.reduce((sum, [cell]) => sum + cell.length, 0);
  if (read !== line.length) throw new BadValue(`expected quotes around whole cells, got ${got(line)}`);
  return cells.map(([, quoted, plain]) => (quoted?.replaceAll('""', '"') ?? plain ?? '').trim());
}
