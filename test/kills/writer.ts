/**
 * Several writers of one endpoint's record, each with clients and a store of its own, in one process:
 * `node writer.ts ENDPOINT WRITERS FROM TO`. They share out the commands FROM..TO-1 and send each until it is accepted, as
 * Pub/Sub would. The last line on standard output is a WriterReport.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../../functions/engine/commands.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { TransientError } from '../../functions/engine/errors.ts';
import { wire } from '../../functions/wiring.ts';

/** As a push subscription of Pub/Sub waits, but sooner, so that they meet more often; drawn, so that the same ones do not. */
const BACKOFF_MS = { min: 20, max: 400 };
const DELIVERIES_MAX = 1000;

export interface WriterReport {
  /** Commands that this process carried out, and those that another had carried out before. */
  done: number;
  ignored: number;
  /** Deliveries that ended in an error, and were tried again. */
  tries: number;
}

const [endpoint = '', writers = '', from = '', to = ''] = process.argv.slice(2);
const report: WriterReport = { done: 0, ignored: 0, tries: 0 };
let next = Number(from);

await Promise.all(Array.from({ length: Number(writers) }, write));
process.stdout.write(`\n${JSON.stringify(report)}\n`);
process.exit(0);

async function write(): Promise<void> {
  const { ports } = wire(parseEnvironment(process.env));
  while (next < Number(to)) {
    const number = next;
    next += 1;
    await deliver(ports, number);
  }
}

async function deliver(ports: ReturnType<typeof wire>['ports'], number: number): Promise<void> {
  const commandId = `command-${number}`;
  const message = { command: number % 2 === 0 ? ('pause' as const) : ('resume' as const), endpoint, commandId };
  for (let delivery = 0; delivery < DELIVERIES_MAX; delivery += 1) {
    try {
      const { kind, text } = await command(ports, { ...message, reason: commandId, by: 'ann' }, commandId);
      if (kind === 'rejected') throw new Error(text);
      report[kind] += 1;
      return;
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      report.tries += 1;
      await sleep(Math.min(BACKOFF_MS.min * 2 ** delivery, BACKOFF_MS.max) * Math.random());
    }
  }
  throw new Error(`${commandId} was not accepted in ${DELIVERIES_MAX} deliveries`);
}
