/**
 * Which messages of one subscription are due? At-least-once delivery with leases, back-off, ordering, retention and
 * dead letters. No timers and no clock: the time comes in with each call.
 */
import type { Message } from './resources.ts';

export interface QueueRules {
  isOrdered: boolean;
  retentionMs: number;
  /** Wait after the nth failed delivery, from 1. */
  backoffMs(attempts: number): number;
  /** Null: delivery is tried until retention ends. */
  attemptsMax: number | null;
  /** Takes over a message that failed `attemptsMax` times; false when it cannot, and the message stays. */
  deadLetter(message: Message, attempts: number): boolean;
}

export interface Delivery {
  ackId: string;
  message: Message;
  /** From 1. */
  attempt: number;
}

interface Entry {
  message: Message;
  attempts: number;
  /** While leased, when the lease ends; else, from when on it may be delivered. Milliseconds since the epoch. */
  dueAt: number;
  ackId: string | null;
}

export class Queue {
  rules: QueueRules;
  /** In the order of publishing, by message id. */
  readonly #entries = new Map<string, Entry>();
  readonly #leased = new Map<string, Entry>();

  constructor(rules: QueueRules) {
    this.rules = rules;
  }

  /** Adds a message that was delivered `attempts` times before; it is due at once. */
  add(message: Message, attempts = 0): void {
    this.#entries.set(message.messageId, { message, attempts, dueAt: 0, ackId: null });
  }

  /** Leases up to `max` messages that are due. With ordering, the oldest pending one of a key holds back the rest. */
  lease(max: number, leaseMs: number, now: number): Delivery[] {
    const deliveries: Delivery[] = [];
    const heldKeys = new Set<string>();
    for (const entry of this.#entries.values()) {
      if (deliveries.length >= max) break;
      const { message } = entry;
      if (entry.ackId !== null && entry.dueAt <= now) this.#fail(entry, entry.dueAt);
      if (entry.ackId === null && message.publishTime + this.rules.retentionMs <= now) this.#remove(entry);
      if (!this.#entries.has(message.messageId)) continue;
      const isHeld = this.rules.isOrdered && message.orderingKey !== '' && heldKeys.has(message.orderingKey);
      heldKeys.add(message.orderingKey);
      if (isHeld || entry.ackId !== null || entry.dueAt > now) continue;
      entry.attempts += 1;
      entry.dueAt = now + leaseMs;
      entry.ackId = `${message.messageId}.${entry.attempts}`;
      this.#leased.set(entry.ackId, entry);
      deliveries.push({ ackId: entry.ackId, message, attempt: entry.attempts });
    }
    return deliveries;
  }

  isLeased(ackId: string): boolean {
    return this.#leased.has(ackId);
  }

  /** Forgets the message. Does nothing when the lease is over. */
  acknowledge(ackId: string): void {
    const entry = this.#leased.get(ackId);
    if (entry !== undefined) this.#remove(entry);
  }

  /** Gives a lease `leaseMs` from now; 0 gives the message back as failed. Does nothing when the lease is over. */
  extend(ackId: string, leaseMs: number, now: number): void {
    const entry = this.#leased.get(ackId);
    if (entry === undefined) return;
    if (leaseMs === 0) this.#fail(entry, now);
    else entry.dueAt = now + leaseMs;
  }

  /** When a lease or a back-off ends next, and lease() may find more than it did now; Infinity when none will. */
  nextDueAt(now: number): number {
    let next = Infinity;
    for (const { dueAt } of this.#entries.values()) if (dueAt > now && dueAt < next) next = dueAt;
    return next;
  }

  /** Everything not acknowledged, oldest first. */
  pending(): { message: Message; attempts: number }[] {
    return Array.from(this.#entries.values(), ({ message, attempts }) => ({ message, attempts }));
  }

  #fail(entry: Entry, failedAt: number): void {
    const { attemptsMax } = this.rules;
    this.#release(entry);
    entry.dueAt = failedAt + this.rules.backoffMs(entry.attempts);
    if (attemptsMax !== null && entry.attempts >= attemptsMax && this.rules.deadLetter(entry.message, entry.attempts)) {
      this.#remove(entry);
    }
  }

  #remove(entry: Entry): void {
    this.#release(entry);
    this.#entries.delete(entry.message.messageId);
  }

  #release(entry: Entry): void {
    if (entry.ackId !== null) this.#leased.delete(entry.ackId);
    entry.ackId = null;
  }
}
