/** What does google.longrunning.Operations answer? Any process may ask, by the bare name of an operation. */
import { z } from 'zod';
import { type BeforeCall, type GrpcService, page, unaryService } from '../grpc.ts';
import { deleteOperation, findOperation, listOperations } from '../world/operations.ts';
import { cancelOperation } from '../world/progress.ts';
import { type World, WorldError } from '../world/world.ts';
import { fields, parse, worldHandlers } from './handlers.ts';
import { toOperation } from './messages.ts';

const nameSchema = z.strictObject({ name: z.string('name is required') });
const listSchema = z.strictObject({
  name: z.string('name is required'),
  filter: fields.text,
  pageSize: fields.int,
  pageToken: fields.text,
});

/** Returns the service over a world. */
export function operationsService(world: World, before?: BeforeCall): GrpcService {
  const { context } = world;
  const handlers = worldHandlers(world, {
    GetOperation(request) {
      return toOperation(findOperation(context, parse(nameSchema, request).name));
    },
    ListOperations(request) {
      const parsed = parse(listSchema, request);
      const isDone = doneFilter(parsed.filter);
      const found = listOperations(context, parsed.name).filter((o) => isDone === null || o.isDone === isDone);
      const { items, nextPageToken } = page(found, parsed);
      return { operations: items.map(toOperation), nextPageToken };
    },
    CancelOperation(request) {
      cancelOperation(context, parse(nameSchema, request).name);
      return {};
    },
    DeleteOperation(request) {
      deleteOperation(context, parse(nameSchema, request).name);
      return {};
    },
  });
  return unaryService('google.longrunning.Operations', handlers, before);
}

/** Null: all. */
function doneFilter(filter: string): boolean | null {
  if (filter.trim() === '') return null;
  const value = /^\s*done\s*[=:]\s*"?(true|false)"?\s*$/i.exec(filter)?.[1];
  if (value === undefined) {
    throw new WorldError(
      'INVALID_ARGUMENT',
      `The filter "${filter}" is not understood; expected done=true or done=false.`,
    );
  }
  return value.toLowerCase() === 'true';
}
