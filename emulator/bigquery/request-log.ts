/**
 * What did Vertex AI log of the predictions? The rows of its BigQuery tables, in the order of their time. They are kept in
 * memory only, within bounds: the oldest go first.
 */

export interface LoggedRequest {
  /** Canonical name. */
  endpoint: string;
  deployedModelId: string;
  /** JSON, a text for each instance; a raw body is one text. */
  requestPayload: string[];
  responsePayload: string[];
}

export interface LoggedRow extends LoggedRequest {
  table: string;
  /** Milliseconds since the epoch. */
  loggedAt: number;
}

export interface RequestLog {
  /** Logs at the present time. */
  add(table: string, request: LoggedRequest): void;
  /** Rows of a table, oldest first; empty where there is none. */
  rows(table: string): LoggedRow[];
}

export interface RequestLogOptions {
  /** Milliseconds since the epoch. */
  now: () => number;
  rowsMax?: number;
  charsMax?: number;
}

/** Makes a log without a row. */
export function createRequestLog({ now, rowsMax = 20_000, charsMax = 64_000_000 }: RequestLogOptions): RequestLog {
  const rows: LoggedRow[] = [];
  let chars = 0;
  return {
    add(table, request) {
      rows.push({ table, loggedAt: now(), ...request });
      chars += charsOf(request);
      while (rows.length > rowsMax || chars > charsMax) {
        const oldest = rows.shift();
        if (oldest === undefined) break;
        chars -= charsOf(oldest);
      }
    },
    rows: (table) => rows.filter((row) => row.table === table),
  };
}

function charsOf({ requestPayload, responsePayload }: LoggedRequest): number {
  return [...requestPayload, ...responsePayload].reduce((sum, text) => sum + text.length, 0);
}
