/** Where does an endpoint log its requests and responses? The one place that knows Vertex's defaults for the table. */
import { WorldError } from './errors.ts';
import { partsOf } from './names.ts';
import type { RequestLogging } from './state.ts';

const DESTINATION = /^bq:\/\/([a-z0-9-]+)(?:\.(\w+)(?:\.([\w-]+))?)?$/;

/** What a caller asks for. */
export interface LoggingOrder {
  enabled: boolean;
  samplingRate: number;
  /** `bq://PROJECT`, `bq://PROJECT.DATASET` or `bq://PROJECT.DATASET.TABLE` */
  outputUri: string;
}

/** Returns the configuration that Vertex would keep; throws INVALID_ARGUMENT for a rate or a destination it would refuse. */
export function requestLogging(
  order: LoggingOrder | null,
  endpoint: string,
  displayName: string,
): RequestLogging | null {
  if (order === null) return null;
  const { enabled, samplingRate, outputUri } = order;
  const [, project, dataset, table = 'request_response_logging'] = DESTINATION.exec(outputUri) ?? [];
  if (project === undefined) {
    throw new WorldError('INVALID_ARGUMENT', `bigquery_destination.output_uri "${outputUri}" is not bq://P.D.T.`);
  }
  if (!(samplingRate > 0 && samplingRate <= 1)) {
    throw new WorldError('INVALID_ARGUMENT', `sampling_rate ${samplingRate} is not in (0, 1].`);
  }
  const own = `logging_${displayName.replaceAll(/\W/g, '_')}_${partsOf(endpoint).id.replaceAll('-', '_')}`;
  return { isEnabled: enabled, samplingRate, table: `${project}.${dataset ?? own}.${table}` };
}
