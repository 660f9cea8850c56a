/**
 * Who blesses versions, and gives orders about them? One owner per endpoint, who lives through one rollout after another, each
 * of a kind that has one right end. Messages go out once or twice, for Pub/Sub promises no less than once.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../emulator/models/random.ts';
import { topics } from '../../functions/engine/publish.ts';
import { type Estate, type Land, send } from './land.ts';
import type { Story, Told } from './story.ts';

/** A copy of a message, and an operator's order, come within this time. */
const LATE_MS = 2000;

const ends = ['completed', 'rolled-back', 'aborted', 'superseded', 'failed'] as const;
type End = (typeof ends)[number];

export interface Outcome {
  estate: Estate;
  versionId: string;
  kind: string;
  expected: End;
  /** What was told of its end; null when none was in time. */
  got: string | null;
  reason: string;
}

export interface Order {
  estate: Estate;
  commandId: string;
  command: string;
}

export interface Lives {
  outcomes: Outcome[];
  orders: Order[];
}

export interface Surroundings {
  land: Land;
  story: Story;
  random: Random;
  /** True while new lives are to begin. */
  goesOn: () => boolean;
  /** Aborted when every life ought to have ended. */
  patience: AbortSignal;
}

/** What an owner can do, and wait for. */
interface Owner {
  /** Blesses a new version under one of the endpoint's two policies, and says how its rollout must end. */
  bless(policy: 'swift' | 'held', isGood: boolean, expected: End): Promise<Outcome>;
  /** Waits until this was told of a version's rollout, at this share or more. */
  told(outcome: Outcome, what: string, percent?: number): Promise<Told>;
  /** Waits for the end, whatever it is. */
  end(outcome: Outcome): Promise<void>;
  order(command: string, target: { rollout: string } | { endpoint: string }): Promise<void>;
  /** Some time passes. */
  dawdle(): Promise<void>;
  endpoint: string;
}

/** Each kind begins with its name in the report. */
const kinds: Record<string, (owner: Owner) => Promise<void>> = {
  async good(owner) {
    await owner.end(await owner.bless('swift', true, 'completed'));
  },
  async bad(owner) {
    await owner.end(await owner.bless('swift', false, 'rolled-back'));
  },
  /** Aborted while it is deployed, or whenever the order comes. */
  async abortedSoon(owner) {
    const life = await owner.bless('held', true, 'aborted');
    const { rollout } = await owner.told(life, 'started');
    await owner.dawdle();
    await owner.order('abort', { rollout });
    await owner.end(life);
  },
  /** The late copy of an abort that names the endpoint must not hit the endpoint's next rollout. */
  async abortedLate(owner) {
    const life = await owner.bless('held', true, 'aborted');
    await owner.told(life, 'shifted', 1);
    await owner.order('abort', { endpoint: owner.endpoint });
    await owner.end(life);
  },
  async replaced(owner) {
    const old = await owner.bless('held', true, 'superseded');
    await owner.told(old, 'started');
    await owner.dawdle();
    const newer = await owner.bless('swift', true, 'completed');
    await Promise.all([owner.end(old), owner.end(newer)]);
  },
  async operated(owner) {
    const life = await owner.bless('held', true, 'aborted');
    const { rollout } = await owner.told(life, 'shifted', 1);
    await owner.order('pause', { rollout });
    await owner.told(life, 'paused');
    await owner.order('resume', { endpoint: owner.endpoint });
    await owner.told(life, 'resumed');
    await owner.order('promote-full', { rollout });
    await owner.told(life, 'shifted', 100);
    await owner.order('abort', { rollout });
    await owner.end(life);
  },
};

/** Lives until it is enough, and returns what came of it, late copies included. */
export async function live(estate: Estate, surroundings: Surroundings): Promise<Lives> {
  const { random, goesOn, patience } = surroundings;
  const lives: Lives = { outcomes: [], orders: [] };
  const late: Promise<void>[] = [];
  const names = Object.keys(kinds);
  while (goesOn()) {
    const kind = names[Math.floor(random() * names.length)] ?? '';
    try {
      await kinds[kind]?.(ownerOf(estate, kind, surroundings, lives, late));
    } catch (error) {
      if (!patience.aborted) throw error;
    }
  }
  await Promise.all(late);
  return lives;
}

function ownerOf(
  estate: Estate,
  kind: string,
  { land, story, random, patience }: Surroundings,
  lives: Lives,
  late: Promise<void>[],
): Owner {
  const { clients } = land;

  async function sendAtLeastOnce(topic: string, message: object): Promise<void> {
    if (random() < 0.5) late.push(sleep(random() * LATE_MS).then(() => send(clients, topic, message)));
    await send(clients, topic, message);
  }

  function isOf({ versionId }: Outcome, told: Told): boolean {
    return told.endpoint === estate.endpoint && told.versionId === versionId;
  }

  return {
    endpoint: estate.endpoint,
    async bless(policy, isGood, expected) {
      const { endpoint, model } = estate;
      const versionId = land.upload(estate, isGood);
      const outcome: Outcome = { estate, versionId, kind, expected, got: null, reason: '' };
      lives.outcomes.push(outcome);
      const eventId = randomUUID();
      await sendAtLeastOnce(topics.blessings, {
        eventId,
        model,
        versionId,
        endpoint,
        policy: estate[policy],
        by: 'ann',
      });
      return outcome;
    },
    told: (outcome, what, percent = 0) =>
      story.first((told) => isOf(outcome, told) && told.what === what && told.percent >= percent, patience),
    async end(outcome) {
      const isEnd = (told: Told): boolean => ends.some((end) => end === told.what);
      const { what, reason } = await story.first((told) => isOf(outcome, told) && isEnd(told), patience);
      outcome.got = what;
      outcome.reason = reason;
      if (what !== 'completed') land.isOver(estate, outcome.versionId);
    },
    async order(command, target) {
      const commandId = randomUUID();
      lives.orders.push({ estate, commandId, command });
      // The reason is journalled, and so says which order it was.
      await sendAtLeastOnce(topics.commands, { command, ...target, commandId, reason: commandId, by: 'bob' });
    },
    dawdle: () => sleep(random() * LATE_MS),
  };
}
