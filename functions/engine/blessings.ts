/** A version was blessed: on which endpoints does a rollout begin? */
import type { Policy } from '../../machines/policy/policy.ts';
import { matches } from '../../machines/policy/match.ts';
import { blessingRefusal } from '../../machines/rollout/decide.ts';
import { endpointKey, isSameEndpoint, isSameModel, parseModelName } from '../../machines/rollout/resource-name.ts';
import { log } from './log.ts';
import { handle } from './loop.ts';
import type { BlessingMessage, LogEntry, Outcome } from './messages.ts';
import type { ModelVersionView, Ports } from './ports.ts';
import { sendAttention } from './publish.ts';
import { loadRecord } from './records.ts';

export interface BlessingContext {
  ports: Ports;
  /** The project whose models this controller rolls out; a project's number is accepted for its id. */
  project: string;
}

/** Starts or queues a rollout on every endpoint whose policy matches. `messageId` stands in for a missing event id. */
export async function bless(
  { ports, project }: BlessingContext,
  message: BlessingMessage,
  messageId: string,
): Promise<Outcome> {
  const modelName = parseModelName(message.model);
  const versionId = message.versionId;
  if (modelName === null || versionId === undefined)
    return { kind: 'rejected', text: `${message.model} names no model version` };
  if (modelName.project !== project && !/^\d+$/.test(modelName.project)) {
    return {
      kind: 'rejected',
      text: `${message.model} is in project ${modelName.project}; this controller serves ${project}`,
    };
  }
  const model = message.model.replace(/@.*$/, '');
  const version = await ports.models.readVersion(model, versionId);
  if (version === null)
    return { kind: 'rejected', text: `Version ${versionId} of ${model} does not exist in the model registry` };
  const { policies, problems } = await policiesFor(ports, message, version);
  if (policies.length === 0) {
    const named = [message.policy, message.endpoint].filter((name) => name !== undefined);
    const narrowed = named.length === 0 ? '' : ` under ${named.join(' and ')}`;
    const unusable = problems.length === 0 ? '' : ` Not usable: ${problems.slice(0, 3).join('; ')}.`;
    const text = `No policy matches version ${versionId} of ${model}${narrowed}.${unusable}`;
    await sendAttention(ports.bus, { subject: model, text, at: ports.now() });
    // A name that stands for nothing is a mistake in the message, which is then worth keeping.
    return { kind: named.length === 0 ? 'ignored' : 'rejected', text };
  }
  const now = ports.now();
  const eventId = message.eventId ?? messageId;
  const blessing = {
    eventId,
    model,
    versionId,
    blessedAt: Math.min(message.blessedAt ?? now, now),
    by: message.by ?? null,
  };
  const told: string[] = [];
  for (const policy of policies) {
    const event = { type: 'blessing.received' as const, at: ports.now(), blessing, policy, isRetry: false };
    const refusal = blessingRefusal((await loadRecord(ports, policy.endpoint)).record, blessing, false);
    const applied = await handle(ports, policy.endpoint, [event], {
      marks: [`blessing ${eventId} ${endpointKey(policy.endpoint)}`],
    });
    told.push(
      `${policy.name}: ${applied.kind === 'duplicate' ? `event ${eventId} was seen before` : (refusal ?? 'accepted')}`,
    );
  }
  // Resume after the commit: a tick that pauses looks again afterwards, so one of the two sees the other.
  await ports.schedule.resume();
  return { kind: 'done', text: told.join('; ') };
}

/** Follows an audit-log entry, if it tells of the alias `blessed`. What it leaves out is read from the registry. */
export async function blessFromLog(context: BlessingContext, entry: LogEntry): Promise<Outcome> {
  const { protoPayload, operation, insertId, timestamp } = entry;
  const method = protoPayload.methodName.replace(/^.*\./s, '');
  if (method !== 'MergeVersionAliases' && method !== 'UploadModel')
    return { kind: 'ignored', text: `${method} blesses nothing` };
  if ((protoPayload.status?.code ?? 0) !== 0)
    return { kind: 'ignored', text: `${method} failed: ${protoPayload.status?.message ?? ''}` };
  if (operation?.first === true && operation.last !== true)
    return { kind: 'ignored', text: `${method} has only begun` };
  const aliases = aliasesOf(protoPayload.request);
  if (aliases !== null && !aliases.includes('blessed'))
    return { kind: 'ignored', text: `${method} did not set the alias "blessed"` };
  const model = modelOf(protoPayload);
  if (model === null) return { kind: 'rejected', text: `${method} names no model` };
  const version = await context.ports.models.readAlias(model, 'blessed');
  if (version === null) return { kind: 'ignored', text: `No version of ${model} holds the alias "blessed" now` };
  const by = protoPayload.authenticationInfo?.principalEmail;
  const blessedAt = aliases === null ? version.updatedAt : (timestamp ?? version.updatedAt);
  const message = {
    eventId: insertId,
    model,
    versionId: version.versionId,
    blessedAt,
    ...(by === undefined ? {} : { by }),
  };
  return bless(context, message, insertId);
}

async function policiesFor(
  ports: Ports,
  message: BlessingMessage,
  version: ModelVersionView,
): Promise<{ policies: Policy[]; problems: string[] }> {
  const { policies, problems } = await ports.policies.list();
  for (const problem of problems) log('ERROR', `A policy is not usable: ${problem}`);
  const matching = policies.filter(
    (policy) =>
      (message.policy === undefined || policy.name === message.policy) &&
      (message.endpoint === undefined || isSameEndpoint(policy.endpoint, message.endpoint)) &&
      matches(policy, { model: version.model, labels: version.labels }),
  );
  return { policies: matching, problems };
}

/** The aliases that a request set; null when the entry does not say. */
function aliasesOf(request: Record<string, unknown> | undefined): string[] | null {
  if (request === undefined) return null;
  const model = request['model'];
  const inModel =
    typeof model === 'object' && model !== null && 'versionAliases' in model ? model.versionAliases : undefined;
  const aliases = request['versionAliases'] ?? inModel;
  return Array.isArray(aliases) ? aliases.filter((alias) => typeof alias === 'string') : null;
}

function modelOf({ resourceName, request, response }: LogEntry['protoPayload']): string | null {
  const candidates = [
    resourceName,
    request?.['name'],
    request?.['parentModel'],
    response?.['model'],
    response?.['name'],
  ];
  const name = candidates.find((candidate) => typeof candidate === 'string' && parseModelName(candidate) !== null);
  return typeof name === 'string' ? name.replace(/@.*$/, '') : null;
}

/** A blessing that no event told of: the alias is on a version that neither serves nor had its rollout. */
export async function findLostBlessing(context: BlessingContext, policy: Policy): Promise<void> {
  const { ports } = context;
  if (policy.match.kind !== 'model') return;
  const version = await ports.models.readAlias(policy.match.model, 'blessed');
  if (version === null) return;
  const { record } = await loadRecord(ports, policy.endpoint);
  const hadRollout = record.history.some(
    (ended) => isSameModel(ended.model, version.model) && ended.versionId === version.versionId,
  );
  const isOlder = version.updatedAt <= (record.history[0]?.endedAt ?? 0);
  if (record.active !== null || record.queued !== null || hadRollout || isOlder) return;
  const view = await ports.endpoints.read(policy.endpoint);
  const serves = view.deployedModels.some(
    (found) => isSameModel(found.model, version.model) && found.versionId === version.versionId,
  );
  if (serves) return;
  const eventId = `reconcile ${version.model}@${version.versionId}`;
  const message = {
    eventId,
    model: policy.match.model,
    versionId: version.versionId,
    endpoint: policy.endpoint,
    policy: policy.name,
    blessedAt: version.updatedAt,
  };
  const outcome = await bless(context, message, eventId);
  log('WARNING', `Reconcile found a blessing that no event told of: ${outcome.text}`, {
    model: version.model,
    versionId: version.versionId,
  });
}
