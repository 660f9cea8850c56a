/** What was told? Every notification once, by its id, and every dead letter. For whoever waits for something to happen. */
import type { PubSub } from '@google-cloud/pubsub';
import { z } from 'zod';
import { topics } from '../../functions/engine/publish.ts';
import { happenings } from '../../machines/rollout/announce.ts';

const toldSchema = z.object({
  id: z.string(),
  type: z.templateLiteral(['dev.vertex-rollouts.rollout.', z.enum(happenings), '.v1']),
  data: z.object({
    rollout: z.string(),
    endpoint: z.string(),
    versionId: z.string(),
    percent: z.int(),
    reason: z.string(),
  }),
});

/** Of the controller itself, about no rollout. */
const attentionSchema = z.object({
  source: z.literal('//vertex-rollouts/controller'),
  data: z.object({ reason: z.string() }),
});

export interface Told {
  id: string;
  what: string;
  rollout: string;
  endpoint: string;
  versionId: string;
  percent: number;
  reason: string;
}

export interface Story {
  /** All that was told of an endpoint, in the order in which it happened. */
  of(endpoint: string): Told[];
  /** The first that fits, which may have been told already. Rejects when the signal is aborted. */
  first(fits: (told: Told) => boolean, signal: AbortSignal): Promise<Told>;
  deadLetters: string[];
  /** What the controller told of no rollout. */
  attention: string[];
  close(): Promise<void>;
}

export async function readStory(pubsub: PubSub): Promise<Story> {
  const known = new Map<string, Told>();
  const deadLetters: string[] = [];
  const attention: string[] = [];
  let news = Promise.withResolvers<void>();
  const [notes] = await pubsub.topic(topics.notifications).createSubscription('story');
  const [letters] = await pubsub.topic(topics.deadLetters).createSubscription('letters');
  notes.on('message', (message) => {
    message.ack();
    const said: unknown = JSON.parse(message.data.toString());
    const ofController = attentionSchema.safeParse(said);
    if (ofController.success) return void attention.push(ofController.data.data.reason);
    const { id, type, data } = toldSchema.parse(said);
    known.set(id, { id, what: type.split('.')[3] ?? '', ...data });
    news.resolve();
    news = Promise.withResolvers();
  });
  letters.on('message', (message) => {
    message.ack();
    deadLetters.push(`${message.attributes['door']}: ${message.attributes['reason']}: ${message.data.toString()}`);
  });
  return {
    of: (endpoint) =>
      [...known.values()]
        .filter((told) => told.endpoint === endpoint)
        .toSorted((a, b) => numberOf(a.id) - numberOf(b.id)),
    async first(fits, signal) {
      const { promise: end, reject } = Promise.withResolvers<never>();
      const giveUp = (): void => reject(signal.reason);
      signal.addEventListener('abort', giveUp);
      try {
        for (;;) {
          signal.throwIfAborted();
          const found = [...known.values()].find(fits);
          if (found !== undefined) return found;
          await Promise.race([news.promise, end]);
        }
      } finally {
        signal.removeEventListener('abort', giveUp);
      }
    },
    deadLetters,
    attention,
    async close() {
      await Promise.all([notes.close(), letters.close()]);
    },
  };
}

/** Ids end in the number under which the record counted it. */
export function numberOf(id: string): number {
  return Number(id.slice(id.lastIndexOf('/') + 1));
}
