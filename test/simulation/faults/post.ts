/**
 * How do messages reach the functions? Pub/Sub, at least once: what is not acknowledged comes again, what was may come
 * again, and each delivery is an instance of its own.
 */
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import type { Outcome } from '../../../functions/engine/messages.ts';
import { skewMsMax } from './checkers.ts';
import { type Door, enter } from './doors.ts';
import { type Backstage, type Instance, portsOf } from './instances.ts';

export interface Letter {
  door: Door;
  body: Record<string, unknown>;
  /** What the delivery that was acknowledged came to; null until then. */
  outcome: Outcome | null;
  isDone: boolean;
}

export interface Post {
  /** Delivers now; `paceMs` makes each await of the receiver take up to so long. */
  deliver(letter: Letter, paceMs?: number): void;
  /** A function says what came of a message. */
  heard(messageId: string, outcome: Outcome): void;
  /** Deliveries that were made or will be made and are not acknowledged. */
  readonly underWay: number;
}

/** The functions' timeout. */
const timeoutMs = 120_000;

export function post(stage: Backstage, hasSkew: boolean, violate: (text: string) => void): Post {
  const { agenda, chaos, cloud } = stage;
  let underWay = 0;
  let serial = 0;
  const letters = new Map<string, Letter>();

  function deliver(letter: Letter, paceMs = 0, attempt = 0, messageId = `m${(serial += 1)}`): void {
    underWay += 1;
    serial += 1;
    const instance: Instance = {
      name: `${letter.door}/${serial}`,
      skewMs: hasSkew ? chaos.between(-skewMsMax, skewMsMax) : 0,
      paceMs,
      isDead: false,
      endsAt: cloud.now() + timeoutMs,
      onDeath: () => again(chaos.between(1000, 30_000)),
      records: new Map(),
      views: new Map(),
    };
    const again = (waitMs: number | null): void => {
      if (waitMs === null) underWay -= 1;
      else
        agenda.add(cloud.now() + waitMs, () => {
          underWay -= 1;
          deliver(letter, 0, attempt + 1, messageId);
        });
    };
    stage.tell(
      () => `${instance.name} gets ${JSON.stringify(letter.body)}${attempt === 0 ? '' : `, try ${attempt + 1}`}`,
    );
    // The raw push body and the CloudEvent around it are both what the platform sends.
    const message = { data: Buffer.from(JSON.stringify(letter.body)).toString('base64'), messageId };
    const type = 'google.cloud.pubsub.topic.v1.messagePublished';
    const event = serial % 2 === 0 ? { message } : { id: messageId, type, data: { message } };
    letters.set(messageId, letter);
    void receive(event).then(again);

    /** The wait until it is delivered again; null when it is done with. */
    async function receive(given: unknown): Promise<number | null> {
      try {
        await enter(letter.door, portsOf(stage, instance), given);
      } catch (error) {
        if (!(error instanceof TransientError || error instanceof PermanentError))
          violate(`${letter.door} threw ${error instanceof Error ? error.stack : String(error)}`);
        stage.tell(() => `${instance.name} failed: ${String(error)}`);
        return Math.min(10_000 * 2 ** attempt, chaos.isOn ? 120_000 : 10_000);
      }
      letter.isDone = true;
      return chaos.strikes('acknowledgementLost', 0.03, () => instance.name) ? chaos.between(0, 90_000) : null;
    }
  }

  return {
    deliver: (letter, paceMs) => deliver(letter, paceMs),
    heard: (messageId, outcome) => {
      const letter = letters.get(messageId);
      if (letter !== undefined) letter.outcome = outcome;
    },
    get underWay() {
      return underWay;
    },
  };
}
