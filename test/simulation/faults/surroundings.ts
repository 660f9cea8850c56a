/**
 * What of the process do the functions touch by themselves? Their log goes to standard output, and their timers to the
 * machine's clock. In a simulated life the log is listened to, and the timers are in virtual time.
 */
import type { Agenda } from './agenda.ts';

export interface Surroundings {
  /** Receives each line of the log. */
  onLog: (line: string) => void;
  now: () => number;
  agenda: Agenda;
}

/** Runs a life in its surroundings, and puts the process's own back. One at a time. */
export async function within<T>({ onLog, now, agenda }: Surroundings, life: () => Promise<T>): Promise<T> {
  const { setTimeout, clearTimeout } = globalThis;
  const write = Object.getOwnPropertyDescriptor(process.stdout, 'write');
  const cancelled = new WeakSet<object>();
  const virtual = (act: () => void, ms = 0): object => {
    const timer = {};
    agenda.add(now() + ms, () => {
      if (!cancelled.has(timer)) act();
    });
    return timer;
  };
  const cancel = (timer: unknown): void => {
    if (typeof timer === 'object' && timer !== null) cancelled.add(timer);
  };
  const listen = (chunk: unknown): boolean => {
    onLog(String(chunk));
    return true;
  };
  Object.assign(globalThis, { setTimeout: virtual, clearTimeout: cancel });
  Object.assign(process.stdout, { write: listen });
  try {
    return await life();
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout });
    if (write === undefined) Reflect.deleteProperty(process.stdout, 'write');
    else Object.defineProperty(process.stdout, 'write', write);
  }
}
