/**
 * Which processes serve the functions, and which of them dies next? Each instance is functions-framework with one target, as
 * Cloud Run runs it. A front, to which Pub/Sub pushes, hands each event to one of them. Nothing here knows what a rollout is.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { Random } from '../../emulator/models/random.ts';
import { createProcessGuard } from '../../emulator/process-guard.ts';
import { topics } from '../../functions/engine/publish.ts';
import { freePort, portOf } from '../port.ts';

/** What is pushed to which function, and how many instances of it stand ready. Two of `onTick`, so that they meet. */
export const doors = [
  { topic: topics.ticks, target: 'onTick', instances: 2 },
  { topic: topics.commands, target: 'onCommand', instances: 2 },
  { topic: topics.blessings, target: 'onBlessing', instances: 1 },
  { topic: topics.evidence, target: 'onEvidence', instances: 1 },
] as const;

type Target = (typeof doors)[number]['target'];

/** The end of what a process said, for the one that ended by itself. */
const LAST_LINES = 20;

const root = new URL('../../', import.meta.url);
const preload = new URL('cli/start/end-with-parent.ts', root).href;
const framework = fileURLToPath(new URL('node_modules/@google-cloud/functions-framework/build/src/main.js', root));
const source = `--source=${fileURLToPath(new URL('functions/index.ts', root))}`;

const lineSchema = z.object({ severity: z.string(), message: z.string() });

interface Instance {
  target: Target;
  port: number;
  child: ChildProcess;
  isReady: boolean;
  isDoomed: boolean;
  isAtWork: boolean;
  eventsDone: number;
  said: string[];
}

export interface Instances {
  /** Where Pub/Sub pushes a topic's messages. */
  pushEndpointOf(topic: string): string;
  /** Resolves while one that is ready works on an event. */
  atWork(): Promise<void>;
  /**
   * Kills one and puts a new one in its place: one that is at work, be it on its first event, or one that has done something,
   * so that the rollouts come to every moment of their lives. Nothing when there is none.
   */
  killOne(random: Random, mustBeAtWork: boolean): void;
  /** Resolves when all are ready. */
  ready(): Promise<void>;
  /** Resolves when so many more events are done with. */
  delivered(events: number): Promise<void>;
  counts: { kills: number; killsAtWork: number; delivered: number; failed: number };
  /** What no kill explains: a process that ended by itself, and whatever was logged as critical. */
  problems: string[];
  close(): Promise<void>;
}

/** Starts them. @param environment what a deployed function would be given */
export async function startInstances(environment: Record<string, string>, project: string): Promise<Instances> {
  const guard = createProcessGuard();
  const places: (Instance | null)[] = doors.flatMap(({ instances }) => Array.from({ length: instances }, () => null));
  const counts: Instances['counts'] = { kills: 0, killsAtWork: 0, delivered: 0, failed: 0 };
  const problems: string[] = [];
  let isClosing = false;
  let change = Promise.withResolvers<void>();
  let turn = 0;

  async function boot(place: number, target: Target): Promise<void> {
    const port = await freePort();
    if (isClosing) return;
    const args = ['--import', preload, framework, source, `--target=${target}`, `--port=${port}`];
    const child = guard.start(process.execPath, args, { PATH: process.env['PATH'] ?? '', ...environment });
    const states = { isReady: false, isDoomed: false, isAtWork: false };
    const instance: Instance = { target, port, child, ...states, eventsDone: 0, said: [] };
    places[place] = instance;
    for (const stream of [child.stdout, child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => hear(instance, line));
    }
    child.once('close', (code) => {
      instance.isReady = false;
      if (!instance.isDoomed && !isClosing) {
        problems.push(`${target} ended by itself with ${code}:\n${instance.said.join('\n')}`);
      }
      void boot(place, target);
    });
  }

  function hear(instance: Instance, line: string): void {
    instance.said = [...instance.said, line].slice(-LAST_LINES);
    // functions-framework says so once it listens.
    if (line.startsWith('URL:')) {
      instance.isReady = !instance.isDoomed;
      changed();
    }
    if (!line.startsWith('{')) return;
    const { severity, message } = lineSchema.parse(JSON.parse(line));
    if (severity === 'CRITICAL') problems.push(`${instance.target}: ${message}`);
  }

  function changed(): void {
    change.resolve();
    change = Promise.withResolvers();
  }

  function ready(): Instance[] {
    return places.filter((instance) => instance !== null).filter(({ isReady }) => isReady);
  }

  /** As Cloud Run does, waits until an instance has started and is free, and takes it. Null when there will be none. */
  async function engage(target: Target | null): Promise<Instance | null> {
    for (;;) {
      if (isClosing || target === null) return null;
      // One event at a time, as Cloud Functions do unless told otherwise.
      const candidates = ready().filter((instance) => instance.target === target && !instance.isAtWork);
      turn += 1;
      const found = candidates[turn % candidates.length];
      if (found !== undefined) {
        // Here and now: others wait for the same.
        found.isAtWork = true;
        changed();
        return found;
      }
      await change.promise;
    }
  }

  /** Any answer but a good one makes Pub/Sub deliver again. */
  async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    const body = await buffer(request);
    const instance = await engage(targetOf(path));
    const status = instance === null ? 503 : await hand(instance, path, body);
    if (status < 300) counts.delivered += 1;
    else counts.failed += 1;
    changed();
    response.writeHead(status).end();
  }

  const server = createServer((request, response) => void forward(request, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const front = `http://127.0.0.1:${portOf(server)}`;
  const targets = doors.flatMap(({ target, instances }) => Array.from({ length: instances }, () => target));
  await Promise.all(targets.map((target, place) => boot(place, target)));

  return {
    pushEndpointOf: (topic) => `${front}/projects/${project}/topics/${topic}`,
    async atWork() {
      while (!ready().some(({ isAtWork }) => isAtWork)) await change.promise;
    },
    killOne(random, mustBeAtWork) {
      const candidates = ready().filter(({ isAtWork, eventsDone }) => (mustBeAtWork ? isAtWork : eventsDone > 0));
      const victim = candidates[Math.floor(random() * candidates.length)];
      if (victim === undefined) return;
      victim.isReady = false;
      victim.isDoomed = true;
      guard.kill(victim.child);
      counts.kills += 1;
      if (victim.isAtWork) counts.killsAtWork += 1;
    },
    async ready() {
      while (ready().length < places.length) await change.promise;
    },
    async delivered(events) {
      const until = counts.delivered + events;
      while (counts.delivered < until) await change.promise;
    },
    counts,
    problems,
    async close() {
      isClosing = true;
      change.resolve();
      const running = places.flatMap((instance) =>
        instance === null || hasEnded(instance.child) ? [] : [instance.child],
      );
      const ends = running.map((child) => once(child, 'exit'));
      guard.close();
      server.close();
      server.closeAllConnections();
      await Promise.all(ends);
    },
  };
}

/** The status that it answers with, after which it is free again; 503 when it dies over it. */
async function hand(instance: Instance, path: string, body: Uint8Array<ArrayBuffer>): Promise<number> {
  try {
    const url = `http://127.0.0.1:${instance.port}${path}`;
    const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    await answer.arrayBuffer();
    instance.eventsDone += 1;
    return answer.status;
  } catch {
    return 503;
  } finally {
    instance.isAtWork = false;
  }
}

function targetOf(path: string): Target | null {
  return doors.find(({ topic }) => path.endsWith(`/topics/${topic}`))?.target ?? null;
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}
