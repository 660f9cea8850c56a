/**
 * How are the rollouts doing, and who may say so? The status page and its JSON API. It stands behind Cloud Run's IAM or
 * IAP, which decide who gets here; this door sees to it that no other web page acts in a visitor's name.
 */
import type { ServerResponse } from 'node:http';
import type { JournalView, RolloutView } from '../machines/rollout/view.ts';
import { parseCommand, type RolloutCommand, refusalOfOrigin } from './dashboard/command.ts';
import { contentSecurityPolicy, page } from './dashboard/page.ts';
import { TransientError } from './engine/errors.ts';
import { limits } from './engine/limits.ts';
import { log } from './engine/log.ts';
import type { Clock } from './engine/ports.ts';
import { type Body, type DoorRequest, readBody } from './proxy/body.ts';
import { answerError, answerJson } from './proxy/google-error.ts';
import { createRoom } from './proxy/held.ts';

export interface DashboardDependencies {
  /** Active and past rollouts, newest first; bounded by whoever lists. */
  listRollouts(): Promise<RolloutView[]>;
  readRollout(id: string): Promise<RolloutView | null>;
  /** Oldest first; null when there is no such rollout. */
  readJournal(id: string): Promise<JournalView[] | null>;
  /** Publishes to `rollout-commands`; resolves when the service has it. */
  sendCommand(command: RolloutCommand): Promise<void>;
  now: Clock;
}

export type DashboardHandler = (request: DoorRequest, response: ServerResponse) => Promise<void>;

type Route =
  | { kind: 'page' | 'rollouts' }
  | { kind: 'rollout' | 'journal' | 'commands'; id: string }
  | { kind: 'unknown' };

const plainHeaders = { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' };

/** Makes the dashboard's handler, for functions-framework and plain node:http alike. It answers every request itself. */
export function createDashboard(dependencies: DashboardDependencies): DashboardHandler {
  return async (request, response) => {
    try {
      await handle(dependencies, request, response);
    } catch (error) {
      const isTransient = error instanceof TransientError;
      log('ERROR', 'The dashboard failed on a request', {
        path: request.url,
        error: error instanceof Error ? error.stack : String(error),
      });
      answerError(
        response,
        isTransient ? 503 : 500,
        isTransient ? 'The store or the bus cannot be reached now; try again' : 'The dashboard failed on this request',
      );
    }
  };
}

async function handle(
  dependencies: DashboardDependencies,
  request: DoorRequest,
  response: ServerResponse,
): Promise<void> {
  const route = routeOf(request.url ?? '/');
  if (route.kind === 'unknown') {
    answerError(response, 404, 'Nothing is here; the page is at / and its API under /api/rollouts');
    return;
  }
  const allowed = route.kind === 'commands' ? ['POST'] : ['GET', 'HEAD'];
  if (!allowed.includes(request.method ?? '')) {
    answerError(response, 405, `Ask with ${allowed.join(' or ')}`, { allow: allowed.join(', ') });
    return;
  }
  switch (route.kind) {
    case 'page':
      response.writeHead(200, {
        ...plainHeaders,
        'content-type': 'text/html; charset=utf-8',
        'content-length': Buffer.byteLength(page),
        'content-security-policy': contentSecurityPolicy,
        'x-content-type-options': 'nosniff',
      });
      response.end(page);
      return;
    case 'rollouts':
      answerView(response, { rollouts: await dependencies.listRollouts(), now: dependencies.now() });
      return;
    case 'rollout': {
      const rollout = await dependencies.readRollout(route.id);
      if (rollout === null) answerUnknown(response, route.id);
      else answerView(response, rollout);
      return;
    }
    case 'journal': {
      const entries = await dependencies.readJournal(route.id);
      if (entries === null) answerUnknown(response, route.id);
      else answerView(response, { entries });
      return;
    }
    case 'commands':
      await command(dependencies, request, response, route.id);
  }
}

async function command(
  dependencies: DashboardDependencies,
  request: DoorRequest,
  response: ServerResponse,
  id: string,
): Promise<void> {
  const refusal = refusalOfOrigin(request.headers);
  if (refusal !== null) {
    answerError(response, refusal.code, refusal.message);
    return;
  }
  // People's commands are few: each has its own room.
  const hold = createRoom(limits.commandBytesMax)();
  const body = await new Promise<Body>((resolve) => {
    readBody(request, limits.commandBytesMax, limits.predictBodyDeadlineMs, hold, resolve);
  });
  if (body.kind === 'aborted') return;
  if (body.kind === 'tooSlow') {
    answerError(response, 408, 'The command was not there in time; send it again', { connection: 'close' });
    return;
  }
  if (body.kind === 'tooLarge' || body.kind === 'noRoom') {
    answerError(response, 413, `A command has at most ${limits.commandBytesMax} bytes; shorten the reason`);
    return;
  }
  const parsed = parseCommand(id, body.bytes);
  if (parsed.kind === 'invalid') {
    answerError(response, 400, parsed.problem);
    return;
  }
  if ((await dependencies.readRollout(id)) === null) {
    answerUnknown(response, id);
    return;
  }
  await dependencies.sendCommand(parsed.command);
  // Accepted, not done: the machine decides what the command does, and the journal says it.
  answerJson(response, 202, JSON.stringify(parsed.command), plainHeaders);
}

function answerView(response: ServerResponse, view: unknown): void {
  answerJson(response, 200, JSON.stringify(view), plainHeaders);
}

function answerUnknown(response: ServerResponse, id: string): void {
  answerError(response, 404, `There is no rollout "${id}"; GET /api/rollouts lists those there are`);
}

function routeOf(target: string): Route {
  const [path = ''] = target.split('?', 1);
  const [root, first, second, id, what, ...rest] = path.split('/');
  if (root !== '' || rest.length > 0) return { kind: 'unknown' };
  if (first === '' && second === undefined) return { kind: 'page' };
  if (first !== 'api' || second !== 'rollouts') return { kind: 'unknown' };
  if (id === undefined) return { kind: 'rollouts' };
  const known = decoded(id);
  if (known === '') return { kind: 'unknown' };
  if (what === undefined) return { kind: 'rollout', id: known };
  return what === 'journal' || what === 'commands' ? { kind: what, id: known } : { kind: 'unknown' };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    // Broken percent-encoding names no rollout.
    return '';
  }
}
