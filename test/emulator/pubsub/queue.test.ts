import { describe, expect, test } from 'vitest';
import { Queue, type QueueRules } from '../../../emulator/pubsub/queue.ts';
import type { Message } from '../../../emulator/pubsub/resources.ts';

const second = 1000;

function queue(rules: Partial<QueueRules> = {}): Queue {
  return new Queue({
    isOrdered: false,
    retentionMs: 600 * second,
    backoffMs: (attempts) => attempts * 10 * second,
    attemptsMax: null,
    deadLetter: () => false,
    ...rules,
  });
}

function message(messageId: string, orderingKey = ''): Message {
  return { messageId, publishTime: 0, data: Buffer.from(messageId), attributes: {}, orderingKey };
}

function leased(from: Queue, now: number, max = 10): string[] {
  return from.lease(max, 20 * second, now).map(({ ackId }) => ackId);
}

describe('leases', () => {
  test('a leased message is not leased again until its deadline and back-off have passed', () => {
    const q = queue();
    q.add(message('m'));
    expect(leased(q, 0)).toEqual(['m.1']);
    expect(leased(q, 29 * second)).toEqual([]);
    expect(leased(q, 30 * second)).toEqual(['m.2']);
  });

  test('an acknowledged message never comes back, and a late acknowledgement changes nothing', () => {
    const q = queue();
    q.add(message('m'));
    expect(leased(q, 0)).toEqual(['m.1']);
    expect(leased(q, 30 * second)).toEqual(['m.2']);
    q.acknowledge('m.1');
    expect(q.pending()).toHaveLength(1);
    q.acknowledge('m.2');
    expect(q.pending()).toHaveLength(0);
    expect(q.nextDueAt(0)).toBe(Infinity);
  });

  test('an extended lease holds the message for longer, and extending it to nothing returns it after the back-off', () => {
    const q = queue();
    q.add(message('m'));
    leased(q, 0);
    q.extend('m.1', 60 * second, 10 * second);
    expect(q.nextDueAt(10 * second)).toBe(70 * second);
    q.extend('m.1', 0, 15 * second);
    expect(q.isLeased('m.1')).toBe(false);
    expect(leased(q, 24 * second)).toEqual([]);
    expect(leased(q, 25 * second)).toEqual(['m.2']);
  });

  test('no more is leased than asked for, oldest first', () => {
    const q = queue();
    for (const id of ['a', 'b', 'c']) q.add(message(id));
    expect(leased(q, 0, 2)).toEqual(['a.1', 'b.1']);
    expect(leased(q, 0, 2)).toEqual(['c.1']);
  });

  test('a message is gone after its retention, but not while it is leased', () => {
    const q = queue({ retentionMs: 30 * second });
    q.add(message('m'));
    q.add(message('n'));
    expect(leased(q, 20 * second, 1)).toEqual(['m.1']);
    expect(leased(q, 31 * second)).toEqual([]);
    expect(q.pending().map((entry) => entry.message.messageId)).toEqual(['m']);
  });
});

describe('ordering', () => {
  test('the oldest unacknowledged message of a key holds back the later ones, and no others', () => {
    const q = queue({ isOrdered: true });
    for (const [id, key] of [
      ['a1', 'a'],
      ['a2', 'a'],
      ['b1', 'b'],
      ['x', ''],
      ['y', ''],
    ] as const) {
      q.add(message(id, key));
    }
    expect(leased(q, 0)).toEqual(['a1.1', 'b1.1', 'x.1', 'y.1']);
    q.extend('a1.1', 0, 0);
    expect(leased(q, 5 * second)).toEqual([]);
    expect(leased(q, 10 * second)).toEqual(['a1.2']);
    q.acknowledge('a1.2');
    expect(leased(q, 11 * second)).toEqual(['a2.1']);
  });
});

describe('dead letters', () => {
  test('a message that failed often enough is handed over, once', () => {
    const handedOver: [string, number][] = [];
    const q = queue({
      attemptsMax: 2,
      backoffMs: () => 0,
      deadLetter: ({ messageId }, attempts) => handedOver.push([messageId, attempts]) > 0,
    });
    q.add(message('m'));
    expect(leased(q, 0)).toEqual(['m.1']);
    q.extend('m.1', 0, 0);
    expect(handedOver).toEqual([]);
    expect(leased(q, 1)).toEqual(['m.2']);
    // The second failure is a lease that ran out.
    expect(leased(q, 60 * second)).toEqual([]);
    expect(handedOver).toEqual([['m', 2]]);
    expect(q.pending()).toEqual([]);
  });

  test('a message that nobody takes over is delivered again', () => {
    const q = queue({ attemptsMax: 1, backoffMs: () => 0 });
    q.add(message('m'));
    leased(q, 0);
    q.extend('m.1', 0, 0);
    expect(leased(q, 0)).toEqual(['m.2']);
  });
});
