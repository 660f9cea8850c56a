import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { answers, createProcesses, type ProcessOrder, type Processes } from '../../../cli/start/processes.ts';
import { freePort } from '../../port.ts';

let folder = '';
let order: ProcessOrder;
let processes: Processes;
let notes: string[];
let told: PromiseWithResolvers<void>;

/** Says its id in its log, then answers on its port. */
const program = (port: number) =>
  `console.log('pid ' + process.pid); require('node:net').createServer((socket) => socket.end()).listen(${port});`;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'processes-'));
  const port = await freePort();
  order = { name: 'worker', args: ['-e', program(port)], env: {}, port, logFile: join(folder, 'worker.log') };
  notes = [];
  told = Promise.withResolvers();
  processes = createProcesses((note) => {
    notes.push(note);
    told.resolve();
  });
});

afterEach(async () => {
  await processes.stop();
  rmSync(folder, { recursive: true });
});

describe('processes', () => {
  it('a process is ready when it answers, and gone when it was stopped', async () => {
    await processes.start(order);
    expect(await answers(order.port)).toBe(true);
    await processes.stop();
    expect(await answers(order.port)).toBe(false);
  });

  it('a process that is killed is started again, and that is told', async () => {
    await processes.start(order);
    process.kill(lastPid(), 'SIGKILL');
    await told.promise;
    expect(notes).toEqual([`worker ended (SIGKILL) and is started again. Its log: ${order.logFile}`]);
    while (!(await answers(order.port))) await new Promise(setImmediate);
  });

  it('a process that keeps ending is given up on, with the end of its log', async () => {
    const ends = `${program(order.port)} setTimeout(() => { console.log('no luck'); process.exit(7); }, 200);`;
    await processes.start({ ...order, args: ['-e', ends] });
    await expect(processes.failure).rejects.toThrow(/worker ended 6 times within a minute: see .*no luck/s);
  });

  it('a process that ends before it answers is an error with the end of its log', async () => {
    const start = processes.start({ ...order, args: ['-e', `console.error('the port is mine'); process.exit(3)`] });
    await expect(start).rejects.toThrow(/worker ended \(exit code 3\) before it was ready: see .*the port is mine/s);
  });

  it('a process listens on the loopback only, whatever it asks for', async () => {
    const asks = `const server = require('node:http').createServer().listen('${order.port}', () => console.log(JSON.stringify(server.address())));`;
    await processes.start({ ...order, args: ['-e', asks] });
    // It answers before it has written that.
    await vi.waitFor(() =>
      expect(JSON.parse(readFileSync(order.logFile, 'utf8'))).toMatchObject({ address: '127.0.0.1', port: order.port }),
    );
  });
});

function lastPid(): number {
  return Number(/pid (\d+)\s*$/.exec(readFileSync(order.logFile, 'utf8'))?.[1]);
}
