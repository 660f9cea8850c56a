/**
 * What does Cloud Logging tell of the Model Registry? The admin-activity entries that a Logging sink sends to the topic
 * `model-blessings`: JSON of a LogEntry, not a CloudEvent.
 */
import { status } from '../grpc.ts';
import { canonicalName, projectIdOf } from '../world/names.ts';
import type { Model, ModelVersion, Operation } from '../world/state.ts';
import type { World } from '../world/world.ts';

const TOPIC = 'model-blessings';
const SERVICE = 'aiplatform.googleapis.com';
const MODEL_SERVICE = 'google.cloud.aiplatform.v1.ModelService';

export interface Audit {
  aliasesMerged(request: { name: string; versionAliases: string[] }, model: Model, version: ModelVersion): void;
  /** Writes the first of two entries; the second follows when the operation ends. Only for uploads with aliases. */
  uploadStarted(request: object, operation: Operation): void;
}

export interface Topics {
  hasTopic(name: string): boolean;
  publish(topic: string, messages: { data: Uint8Array; attributes: Record<string, string> }[]): unknown;
}

interface Entry {
  method: 'MergeVersionAliases' | 'UploadModel';
  resourceName: string;
  request?: object;
  response?: object;
  operation?: { id: string; producer: string; first?: true; last?: true };
  error?: Operation['error'];
}

/** Returns a sink that publishes where the project has the topic, and nowhere else. */
export function createAudit(world: World, topics: Topics): Audit {
  const { context } = world;

  function write(entry: Entry): void {
    const project = projectIdOf(context, canonicalName(context, entry.resourceName));
    const topic = `projects/${project}/topics/${TOPIC}`;
    if (!topics.hasTopic(topic)) return;
    const timestamp = new Date(context.now()).toISOString();
    const methodName = `${MODEL_SERVICE}.${entry.method}`;
    const logEntry = {
      insertId: `emulator${context.nextNumber().toString(36)}`,
      logName: `projects/${project}/logs/cloudaudit.googleapis.com%2Factivity`,
      protoPayload: {
        '@type': 'type.googleapis.com/google.cloud.audit.AuditLog',
        authenticationInfo: { principalEmail: 'emulator@localhost' },
        serviceName: SERVICE,
        methodName,
        resourceName: entry.resourceName,
        ...(entry.request === undefined ? {} : { request: entry.request }),
        ...(entry.response === undefined ? {} : { response: entry.response }),
        status: entry.error ? { code: status[entry.error.code], message: entry.error.message } : {},
      },
      ...(entry.operation === undefined ? {} : { operation: entry.operation }),
      resource: { type: 'audited_resource', labels: { project_id: project, service: SERVICE, method: methodName } },
      severity: entry.error ? 'ERROR' : 'NOTICE',
      timestamp,
      receiveTimestamp: timestamp,
    };
    const data = Buffer.from(JSON.stringify(logEntry));
    topics.publish(topic, [{ data, attributes: { 'logging.googleapis.com/timestamp': timestamp } }]);
  }

  world.subscribe((event) => {
    if (event.kind !== 'operationDone' || event.operation.work.kind !== 'uploadModel') return;
    const { name, work, error } = event.operation;
    if (work.version.aliases.length === 0) return;
    write({
      method: 'UploadModel',
      resourceName: work.model,
      operation: { id: name, producer: SERVICE, last: true },
      error,
      ...(error === null ? { response: { model: work.model, modelVersionId: work.version.versionId } } : {}),
    });
  });

  return {
    aliasesMerged(request, model, version) {
      const response = {
        name: model.name,
        versionId: version.versionId,
        versionAliases: version.aliases,
        displayName: version.displayName,
        labels: version.labels,
        versionUpdateTime: new Date(version.updatedAt).toISOString(),
        etag: version.etag,
      };
      write({ method: 'MergeVersionAliases', resourceName: request.name, request, response });
    },
    uploadStarted(request, { name, work }) {
      if (work.kind !== 'uploadModel' || work.version.aliases.length === 0) return;
      const operation = { id: name, producer: SERVICE, first: true } as const;
      write({ method: 'UploadModel', resourceName: work.model, request, operation });
    },
  };
}
