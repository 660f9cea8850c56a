/** What happened, for Cloud Logging: one JSON object a line. Payloads of predictions are never logged. */

export type Severity = 'DEBUG' | 'INFO' | 'WARNING' | 'ERROR' | 'CRITICAL';

/**
 * Writes one structured line. `rollout`, where given, groups a rollout's lines as one operation in Logs Explorer.
 * @see https://cloud.google.com/logging/docs/structured-logging
 */
export function log(
  severity: Severity,
  message: string,
  fields: Record<string, unknown> & { rollout?: string } = {},
): void {
  const { rollout, ...rest } = fields;
  const operation =
    rollout === undefined
      ? {}
      : { rollout, 'logging.googleapis.com/operation': { id: rollout, producer: 'vertex-rollouts' } };
  process.stdout.write(`${JSON.stringify({ severity, message, ...operation, ...rest })}\n`);
}
