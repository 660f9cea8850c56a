/** A system for the command line to talk to: a dashboard API over HTTP, and Pub/Sub's Publisher, whose project `nowhere` has no topic. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main } from '../../cli/rollouts.ts';
import type { World } from '../../cli/world.ts';
import { StatusError, serveGrpc, status, unaryService } from '../../emulator/grpc.ts';
import { NOW } from './example-view.ts';
import { portOf } from '../port.ts';

export interface Reply {
  status: number;
  body: unknown;
}

export interface SystemDouble {
  api: string;
  pubsub: string;
  /** What the dashboard answers, by path, one after the other; the last stays, and a path without any is a 404. */
  replies: Map<string, Reply[]>;
  requests: { path: string; authorization: string | undefined }[];
  published: { topic: string; data: unknown }[];
  close(): Promise<void>;
}

export async function startSystem(): Promise<SystemDouble> {
  const replies: SystemDouble['replies'] = new Map();
  const requests: SystemDouble['requests'] = [];
  const published: SystemDouble['published'] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '');
    requests.push({ path, authorization: request.headers.authorization });
    const queue = replies.get(path) ?? [];
    const notFound = { status: 404, body: { error: { code: 404, message: 'no such thing', status: 'NOT_FOUND' } } };
    const reply = (queue.length > 1 ? queue.shift() : queue[0]) ?? notFound;
    response.writeHead(reply.status, { 'content-type': 'application/json' });
    response.end(typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const publisher = unaryService('google.pubsub.v1.Publisher', {
    Publish: ({ topic, messages }) => {
      if (String(topic).startsWith('projects/nowhere/')) throw new StatusError(status.NOT_FOUND, 'Topic not found');
      const list = Array.isArray(messages) ? messages : [];
      for (const { data } of list) published.push({ topic: String(topic), data: JSON.parse(String(data)) });
      return { messageIds: list.map((_, i) => `m${published.length}-${i}`) };
    },
  });
  const grpc = await serveGrpc(0, [publisher]);
  return {
    api: `http://127.0.0.1:${portOf(server)}`,
    pubsub: `127.0.0.1:${grpc.port}`,
    replies,
    requests,
    published,
    async close() {
      server.closeAllConnections();
      await Promise.all([grpc.close(), new Promise((resolve) => server.close(resolve))]);
    },
  };
}

export interface Run {
  code: number;
  out: string;
  err: string;
}

/** A person at a keyboard, in a folder of their own. Time passes only by sleeping, and that takes none. */
export async function startPerson(): Promise<{
  folder: string;
  run(args: string[], env?: Record<string, string>, terminal?: { columns: number }): Promise<Run>;
  close(): Promise<void>;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'rollouts-'));
  return {
    folder,
    async run(args, env = {}, terminal) {
      let now = NOW;
      const written = { out: '', err: '' };
      const world: World = {
        stdout: { write: (text) => (written.out += text), isTTY: terminal !== undefined, columns: terminal?.columns },
        stderr: { write: (text) => (written.err += text) },
        env,
        folder,
        user: 'anna',
        now: () => now,
        sleep: async (ms) => {
          now += ms;
          await Promise.resolve();
        },
      };
      return { code: await main(args, world), ...written };
    },
    close: () => rm(folder, { recursive: true }),
  };
}
