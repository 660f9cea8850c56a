/**
 * How does the whole system come up on this machine? The emulator and every function as processes of their own, and in
 * the emulator all that Terraform would have made. For npm start and for the benchmarks.
 */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { googleClients } from '../../functions/gcp/clients.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import type { System } from '../system.ts';
import { CliError } from '../world.ts';
import { emulatorServices, functionNames, host, type Places } from './places.ts';
import { answers, createProcesses, type ProcessOrder } from './processes.ts';
import { pointSubscriptions, seed } from './seed.ts';

/** The local Vertex AI runs sixty times as fast as Google's: a minute is a second. */
const TIME_SCALE = 60;
/** What an earlier run left behind ends within this time. */
const PORTS_MS = 6000;

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface LocalSystemOptions {
  places: Places;
  policy: Policy;
  /** An absolute path. */
  policyFile: string;
  /** True: goes on with the state of an earlier run. False: forgets it. */
  isContinued: boolean;
  requestsPerSecond: number;
  /** Called with a sentence for a person. */
  tell: (note: string) => void;
}

export interface LocalSystem {
  /** For the command line's reading and sending. */
  system: System;
  dashboard: string;
  /** Where predictions are asked for, through the proxy. */
  predictUrl: string;
  /** Throws a CliError when something cannot start; then stop() is still to be called. */
  start(): Promise<void>;
  /** Rejects when a process keeps ending. Never resolves. */
  failure: Promise<never>;
  /** Ends every process, and resolves when none is left. Idempotent, and right at any time. */
  stop(): Promise<void>;
}

/** Makes a system that is not started yet. */
export function createLocalSystem(options: LocalSystemOptions): LocalSystem {
  const { places, policy, policyFile, isContinued, requestsPerSecond } = options;
  const { files, functionPorts } = places;
  const processes = createProcesses(options.tell);
  const dashboard = `http://${host(functionPorts.dashboard)}`;
  return {
    system: { api: dashboard, token: null, env: places.env, advice: `see the logs in ${files.logs}` },
    dashboard,
    predictUrl: `http://${host(functionPorts.predict)}/v1/endpoints/${policy.name}:predict`,
    failure: processes.failure,
    async start() {
      await portsMustBeFree(places);
      if (!isContinued) forget(places);
      for (const folder of [files.logs, files.policies]) mkdirSync(folder, { recursive: true });
      linkPolicy(places, policyFile);
      await processes.start(emulatorOrder(places));
      const clients = googleClients(parseEnvironment(places.env));
      try {
        await Promise.all([
          isContinued ? pointSubscriptions(clients, places) : seed(clients, places, policy, requestsPerSecond),
          ...functionOrders(places).map((order) => processes.start(order)),
        ]);
      } finally {
        await clients.close();
      }
      writeFileSync(files.local, JSON.stringify({ api: dashboard, env: places.env }, null, 2));
    },
    async stop() {
      rmSync(files.local, { force: true });
      await processes.stop();
    },
  };
}

function emulatorOrder({ files, emulatorPorts }: Places): ProcessOrder {
  const ports = emulatorServices.flatMap((service) => [`--${service}-port`, String(emulatorPorts[service])]);
  const args = ['--time-scale', String(TIME_SCALE), '--state', files.emulatorState, ...ports];
  return {
    name: 'emulator',
    args: [join(root, 'emulator/main.ts'), ...args],
    env: {},
    // The last that it opens.
    port: emulatorPorts.control,
    logFile: join(files.logs, 'emulator.log'),
  };
}

/** Node runs the TypeScript as it is, so what functions-framework loads needs no build. */
function functionOrders({ files, functionPorts, env }: Places): ProcessOrder[] {
  const framework = join(root, 'node_modules/@google-cloud/functions-framework/build/src/main.js');
  const source = `--source=${join(root, 'functions/index.ts')}`;
  return functionNames.map((name) => ({
    name,
    args: [framework, source, `--target=${name}`, `--port=${functionPorts[name]}`],
    env,
    port: functionPorts[name],
    logFile: join(files.logs, `${name}.log`),
  }));
}

async function portsMustBeFree({ emulatorPorts, functionPorts }: Places): Promise<void> {
  const ports = [...Object.values(emulatorPorts), ...Object.values(functionPorts)];
  const deadline = Date.now() + PORTS_MS;
  for (;;) {
    const isTaken = await Promise.all(ports.map((port) => answers(port)));
    const taken = ports.filter((_, i) => isTaken[i]);
    if (taken.length === 0) return;
    if (Date.now() > deadline) {
      throw new CliError(
        `Another program has the port ${taken.join(', ')} of this machine. End it, or choose other ports: npm start -- --port-base 9000`,
      );
    }
    await sleep(200);
  }
}

/** A link, so that a change of the file counts from the next blessing on. */
function linkPolicy({ files }: Places, policyFile: string): void {
  const link = join(files.policies, 'policy.yaml');
  rmSync(link, { force: true });
  symlinkSync(policyFile, link);
}

function forget({ files }: Places): void {
  for (const file of [files.emulatorState, files.store, `${files.store}-wal`, `${files.store}-shm`, files.logs]) {
    rmSync(file, { recursive: true, force: true });
  }
}
