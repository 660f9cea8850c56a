/** How far are the long-running operations? Kept, listed, cancelled; their work itself is done elsewhere. */
import type { WorldContext } from './context.ts';
import { WorldError } from './errors.ts';
import { canonicalName } from './names.ts';
import type { Operation, Work } from './state.ts';

/** Done operations are forgotten, oldest first, beyond this many. */
const operationsMax = 1_000;

/** Starts work on a resource, named canonically, that takes `durationMs`. */
export function startOperation(
  context: WorldContext,
  resource: string,
  work: Work,
  durationMs: number,
  deadlineMs: number | null = null,
): Operation {
  const at = context.now();
  const name = `${resource}/operations/${6_000_000_000_000_000_000n + BigInt(context.nextNumber())}`;
  const operation: Operation = {
    name,
    work,
    startedAt: at,
    updatedAt: at,
    dueAt: at + durationMs,
    deadlineAt: deadlineMs === null ? null : at + deadlineMs,
    stage: '',
    isDone: false,
    error: null,
    deployedModel: null,
  };
  context.state.operations[name] = operation;
  forgetOldest(context);
  context.emit({ kind: 'changed' });
  return operation;
}

/** Ends an operation, with an error or without. */
export function endOperation(context: WorldContext, operation: Operation, error: Operation['error']): void {
  operation.isDone = true;
  operation.error = error;
  operation.updatedAt = context.now();
  context.emit({ kind: 'operationDone', operation });
  context.emit({ kind: 'changed' });
}

/** Returns the operation; also by `projects/P/locations/L/operations/ID`, without its resource. Throws NOT_FOUND. */
export function findOperation(context: WorldContext, name: string): Operation {
  const canonical = canonicalName(context, name);
  const operation = context.state.operations[canonical] ?? findByShortName(context, canonical);
  if (operation === undefined) throw new WorldError('NOT_FOUND', `The operation ${name} does not exist.`);
  return operation;
}

/** Returns the operations of a resource, or of all resources in a location, oldest first. */
export function listOperations(context: WorldContext, parent: string): Operation[] {
  const prefix = `${canonicalName(context, parent.replace(/\/operations$/, ''))}/`;
  return Object.values(context.state.operations).filter((operation) => operation.name.startsWith(prefix));
}

/** Forgets an operation; throws FAILED_PRECONDITION while it is under way. */
export function deleteOperation(context: WorldContext, name: string): void {
  const operation = findOperation(context, name);
  if (!operation.isDone) {
    throw new WorldError('FAILED_PRECONDITION', `The operation ${name} is under way; cancel it first.`);
  }
  delete context.state.operations[operation.name];
  context.emit({ kind: 'changed' });
}

/** Returns the operations under way, those due first at the front. */
export function operationsUnderWay(context: WorldContext): Operation[] {
  return Object.values(context.state.operations)
    .filter((operation) => !operation.isDone)
    .toSorted((a, b) => a.dueAt - b.dueAt);
}

function findByShortName(context: WorldContext, canonical: string): Operation | undefined {
  const match = /^(projects\/[^/]+\/locations\/[^/]+)(\/operations\/[^/]+)$/.exec(canonical);
  if (match === null) return undefined;
  const [, location = '', rest = ''] = match;
  return Object.values(context.state.operations).find(
    (operation) => operation.name.startsWith(`${location}/`) && operation.name.endsWith(rest),
  );
}

function forgetOldest(context: WorldContext): void {
  const names = Object.keys(context.state.operations);
  for (const name of names.slice(0, Math.max(0, names.length - operationsMax))) {
    if (context.state.operations[name]?.isDone === true) delete context.state.operations[name];
  }
}
