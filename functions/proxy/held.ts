/**
 * How much memory may callers take? Bodies on their way in and answers on their way out are held in bytes, together; and an
 * answer that its caller does not read is held until it is read or too old.
 */
import type { ServerResponse } from 'node:http';
import { limits } from '../engine/limits.ts';
import { beginDeadline, endDeadline } from './deadline.ts';

/** What one exchange holds. */
export interface Hold {
  /** Takes room for a piece of so many bytes. False when there is none; then nothing was taken. */
  take(bytes: number): boolean;
  release(): void;
}

/** Makes the room of one instance. */
export function createRoom(bytesMax: number): () => Hold {
  const room = { free: bytesMax };
  return () => new RequestHold(room);
}

/** A class, for one is made for every request. */
class RequestHold implements Hold {
  readonly #room: { free: number };
  #own = 0;

  constructor(room: { free: number }) {
    this.#room = room;
  }

  take(bytes: number): boolean {
    // Else a megabyte of crumbs, each a chunk of its own, would take hundreds.
    const taken = Math.max(bytes, limits.pieceBytesMin);
    if (taken > this.#room.free) return false;
    this.#room.free -= taken;
    this.#own += taken;
    return true;
  }

  release(): void {
    this.#room.free += this.#own;
    this.#own = 0;
  }
}

/**
 * Calls `done` once, when the answer is out of our hands: with the kernel, or its connection is gone. A caller who does not
 * read it for `readDeadlineMs` is cut off.
 */
export function onceSent(response: ServerResponse, readDeadlineMs: number, done: () => void): void {
  if (response.closed || response.destroyed || (response.writableEnded && response.writableLength === 0)) {
    done();
    return;
  }
  const deadline = beginDeadline(readDeadlineMs, () => response.destroy());
  response.once('close', () => {
    endDeadline(deadline);
    done();
  });
}
