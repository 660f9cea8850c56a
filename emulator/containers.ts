/**
 * Which model servers run here? One local process for each DeployedModel that should have one: started, probed on its
 * health route, restarted with back-off when it exits, stopped when it is no longer wanted.
 */
import type { ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { type Agent, request } from 'undici';
import { planContainer } from './container-contract.ts';
import type { ProcessGuard } from './process-guard.ts';
import type { ContainerOrder, World } from './world/world.ts';

const bounds = {
  restartMs: 10_000,
  restartMsMax: 300_000,
  /** A container that was healthy this long begins its back-off anew. */
  settledMs: 600_000,
  probeMs: 10_000,
  /** However fast the clock, a process needs time to answer. */
  probeMsMin: 25,
  probeDeadlineMs: 2_000,
  /** Failed probes in a row before a healthy container counts as unhealthy. */
  probeFailuresMax: 3,
  /** Of a container's output, for the message that says why it exited. */
  outputCharsMax: 2_000,
};

/** Where a healthy container takes predictions. */
export interface ContainerAddress {
  origin: string;
  predictRoute: string;
}

export interface Containers {
  /** Starts and stops processes so that exactly the world's orders run. Idempotent. */
  reconcile(): void;
  /** Null while the container is starting, unhealthy or waiting to be restarted. */
  addressOf(endpoint: string, deployedModelId: string): ContainerAddress | null;
  /** Stops all, and resolves when they have ended. */
  close(): Promise<void>;
}

export interface ContainersOptions {
  world: World;
  guard: ProcessGuard;
  agent: Agent;
  timeScale: number;
  /** Called with each piece of output of a container. */
  onOutput?: (deployedModelId: string, text: string) => void;
}

interface Container {
  order: ContainerOrder;
  child: ChildProcess | null;
  address: ContainerAddress | null;
  isHealthy: boolean;
  healthyAt: number | null;
  exits: number;
  failedProbes: number;
  timer: NodeJS.Timeout | null;
  isStopped: boolean;
  lastOutput: string;
}

/** Makes a runner with nothing running. */
export function createContainers({ world, guard, agent, timeScale, onOutput }: ContainersOptions): Containers {
  const containers = new Map<string, Container>();
  const probeMs = Math.max(bounds.probeMs / timeScale, bounds.probeMsMin);

  function reconcile(): void {
    const orders = new Map(
      world.containerOrders().map((order) => [keyOf(order.endpoint, order.deployedModelId), order]),
    );
    for (const [key, container] of containers) {
      if (!orders.has(key)) stop(key, container);
    }
    for (const [key, order] of orders) {
      if (containers.has(key)) continue;
      const container = newContainer(order);
      containers.set(key, container);
      void start(container);
    }
  }

  async function start(container: Container): Promise<void> {
    try {
      const port = await freePort();
      if (!container.isStopped) run(container, port);
    } catch (error) {
      ended(container, container.child, `cannot be started: ${String(error)}`);
    }
  }

  function run(container: Container, port: number): void {
    const plan = planContainer(container.order, port);
    const child = guard.start(plan.command, plan.args, plan.env);
    container.child = child;
    container.lastOutput = '';
    container.failedProbes = 0;
    const address = { origin: `http://127.0.0.1:${port}`, predictRoute: plan.predictRoute };
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        container.lastOutput = (container.lastOutput + text).slice(-bounds.outputCharsMax);
        onOutput?.(container.order.deployedModelId, text);
      });
    }
    // 'error' alone, when the command cannot be started at all; 'close' in every other case.
    child.once('error', (error) => ended(container, child, `cannot be started: ${error.message}`));
    child.once('close', (code, signal) => ended(container, child, `exited with ${signal ?? code}`));
    probeLater(container, child, address, `${address.origin}${plan.healthRoute}`);
  }

  function probeLater(container: Container, child: ChildProcess, address: ContainerAddress, url: string): void {
    container.timer = setTimeout(() => void probeNow(container, child, address, url), probeMs);
  }

  async function probeNow(
    container: Container,
    child: ChildProcess,
    address: ContainerAddress,
    url: string,
  ): Promise<void> {
    const problem = await probe(agent, url);
    if (container.child !== child || container.isStopped) return;
    if (problem === null) becameHealthy(container, address);
    else missedProbe(container, problem);
    probeLater(container, child, address, url);
  }

  function missedProbe(container: Container, problem: string): void {
    container.failedProbes += 1;
    if (!container.isHealthy) return report(container, 'starting', problem);
    if (container.failedProbes < bounds.probeFailuresMax) return;
    container.isHealthy = false;
    container.address = null;
    report(container, 'unhealthy', problem);
  }

  function becameHealthy(container: Container, address: ContainerAddress): void {
    container.isHealthy = true;
    container.failedProbes = 0;
    container.address = address;
    container.healthyAt ??= world.context.now();
    report(container, 'healthy', '');
  }

  function ended(container: Container, child: ChildProcess | null, how: string): void {
    if (container.child !== child) return;
    const { healthyAt } = container;
    if (container.timer !== null) clearTimeout(container.timer);
    const wasSettled = healthyAt !== null && world.context.now() - healthyAt > bounds.settledMs / timeScale;
    container.exits = wasSettled ? 1 : container.exits + 1;
    Object.assign(container, { child: null, address: null, isHealthy: false, healthyAt: null });
    if (container.isStopped) return;
    const output = container.lastOutput.trim().split('\n').at(-1) ?? '';
    report(container, 'unhealthy', `The model server ${how}${output === '' ? '' : `: ${output}`}`);
    const backOffMs = Math.min(bounds.restartMs * 2 ** (container.exits - 1), bounds.restartMsMax) / timeScale;
    container.timer = setTimeout(() => void start(container), backOffMs);
  }

  function report(container: Container, health: 'starting' | 'healthy' | 'unhealthy', message: string): void {
    const { endpoint, deployedModelId } = container.order;
    world.reportContainer(endpoint, deployedModelId, health, message);
  }

  function stop(key: string, container: Container): void {
    containers.delete(key);
    container.isStopped = true;
    container.address = null;
    if (container.timer !== null) clearTimeout(container.timer);
    if (container.child !== null) guard.kill(container.child);
  }

  return {
    reconcile,
    addressOf: (endpoint, id) => containers.get(keyOf(endpoint, id))?.address ?? null,
    async close() {
      const children = Array.from(containers.values(), ({ child }) => child).filter((child) => child !== null);
      const ends = children.map((child) => new Promise((resolve) => child.once('close', resolve)));
      for (const [key, container] of containers) stop(key, container);
      await Promise.all(ends);
    },
  };
}

/** Null when the health route answered 200, else what it did instead. */
async function probe(agent: Agent, url: string): Promise<string | null> {
  try {
    const signal = AbortSignal.timeout(bounds.probeDeadlineMs);
    const { statusCode, body } = await request(url, { dispatcher: agent, signal });
    await body.dump();
    return statusCode === 200 ? null : `The health route answered ${statusCode}.`;
  } catch (error) {
    return `The health route did not answer: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Returns a port that nobody listens on now. Should another take it, the container exits and starts on another. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

function newContainer(order: ContainerOrder): Container {
  return {
    order,
    child: null,
    address: null,
    isHealthy: false,
    healthyAt: null,
    exits: 0,
    failedProbes: 0,
    timer: null,
    isStopped: false,
    lastOutput: '',
  };
}

function keyOf(endpoint: string, deployedModelId: string): string {
  return `${endpoint}#${deployedModelId}`;
}
