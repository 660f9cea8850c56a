/**
 * `npm start`: the whole system on this machine. Starts it, blesses a version of the model, and shows the rollout until
 * it is decided; then stays up for more. This file tells the story; each part of it is in cli/start/.
 */

import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { startTraffic, type Traffic } from '../emulator/traffic.ts';
import type { Policy } from '../machines/policy/policy.ts';
import type { RolloutView } from '../machines/rollout/view.ts';
import { type Api, dashboardApi } from './api.ts';
import { readPolicyFile } from './policy-file.ts';
import { send } from './send.ts';
import { onceOrphaned } from './start/ancestors.ts';
import { createLive, type Live } from './start/live.ts';
import { createLocalSystem, type LocalSystem } from './start/local-system.ts';
import { takeLock } from './start/lock.ts';
import { parseOptions, type StartOptions } from './start/options.ts';
import { type Places, placesOf } from './start/places.ts';
import { modelOf } from './start/seed.ts';
import { unfinishedRollout } from './start/unfinished.ts';
import { CliError, exitCodeOf, exitCodes, type World } from './world.ts';

const LOOK_MS = 500;
/** A blessing is answered within a second or two; after this, something is wrong. */
const SILENCE_MS = 15_000;
/** With --exit, a rollout that is not decided by then is given up on; with the policy of the demo it takes a minute. */
const DECIDED_MS_MAX = 15 * 60_000;

/**
 * Runs until the rollout is decided (`--exit`), or until `stopped` resolves with the reason. Returns the exit code, and
 * leaves no process running.
 */
export async function main(args: string[], world: World, stopped: Promise<string>): Promise<number> {
  const options = parseOptions(args, world);
  if ('exitCode' in options) return options.exitCode;
  const live = createLive(world);
  // Undone in the opposite order, however the story ends.
  await using stack = new AsyncDisposableStack();
  try {
    const ending = await Promise.race([story(options, world, live, stack), stopped]);
    if (typeof ending === 'number') return ending;
    live.tell(`${ending} A rollout that is under way goes on with the next npm start.`);
    return options.exit ? exitCodes.undecided : exitCodes.ok;
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    world.stderr.write(`${error.message}\n`);
    return error.exitCode;
  }
}

async function story(options: StartOptions, world: World, live: Live, stack: AsyncDisposableStack): Promise<number> {
  const { policyFile, requestsPerSecond } = options;
  const policy = await readPolicyFile(world.folder, policyFile);
  const wanted = options.bless === null ? null : blessable(options.bless, policy);
  const places = placesOf(world.folder, options.portBase, policy);
  mkdirSync(places.files.folder, { recursive: true });
  stack.defer(takeLock(places.files.lock));

  const unfinished = options.fresh ? null : await unfinishedRollout(places, policy.endpoint);
  const isContinued = unfinished !== null && (wanted === null || wanted === unfinished.versionId);
  const versionId = isContinued ? unfinished.versionId : (wanted ?? '2');
  live.tell(
    isContinued
      ? `Going on with the rollout of delays@${versionId}, which was under way …`
      : 'Starting a local Vertex AI and seven functions, with delays@1 as stable …',
  );
  const tell = (note: string): void => live.tell(note);
  const local = createLocalSystem({ places, policy, policyFile, isContinued, requestsPerSecond, tell });
  stack.defer(() => local.stop());
  await Promise.race([local.start(), local.failure]);

  const headers = { 'x-goog-api-key': places.proxyKey };
  const traffic = startTraffic({ url: local.predictUrl, headers, requestsPerSecond, seed: 1 });
  stack.defer(() => traffic.stop());
  if (!isContinued) {
    const blessing = { model: modelOf(policy), versionId, by: world.user, blessedAt: new Date().toISOString() };
    await send(local.system, 'model-blessings', { eventId: randomUUID(), ...blessing });
    live.tell(`Blessed delays@${versionId}. It can be watched at ${local.dashboard} as well.`);
  }
  const watching = { api: dashboardApi(local.system), live, traffic };
  const decided = await Promise.race([decision(watching, versionId, options.exit), local.failure]);
  if (options.exit) return decided === null ? exitCodes.undecided : exitCodeOf(decided);
  for (const line of whatToTry(local, places, decided)) live.tell(line);
  return Promise.race([follow(watching, () => false, Number.POSITIVE_INFINITY).then(() => 0), local.failure]);
}

interface Watching {
  api: Api;
  live: Live;
  traffic: Traffic;
}

/** Shows the rollout of the version until it is over; with `--exit` also until it is paused, for nobody would resume it. */
async function decision(watching: Watching, versionId: string, isExit: boolean): Promise<RolloutView | null> {
  if ((await follow(watching, () => true, Date.now() + SILENCE_MS)) === null) {
    watching.live.tell('Nothing has come of the blessing so far; .rollouts/logs/onBlessing.log should say why.');
  }
  const isDecided = (view: RolloutView): boolean =>
    view.versionId === versionId && (view.isFinal || (isExit && view.paused !== null));
  return follow(watching, isDecided, isExit ? Date.now() + DECIDED_MS_MAX : Number.POSITIVE_INFINITY);
}

/** Shows the newest rollout until it is enough, or until a time; then the answer is null. */
async function follow(
  { api, live, traffic }: Watching,
  isEnough: (view: RolloutView) => boolean,
  until: number,
): Promise<RolloutView | null> {
  while (Date.now() < until) {
    const view = await newest(api);
    if (view !== null) live.show(view, traffic.stats());
    if (view !== null && isEnough(view)) return view;
    await sleep(LOOK_MS);
  }
  return null;
}

/** The rollout under way, or else the last one; null when there is none yet, or the dashboard is being started again. */
async function newest(api: Api): Promise<RolloutView | null> {
  try {
    const views = await api.list();
    return views.find(({ state }) => state !== 'queued') ?? null;
  } catch (error) {
    if (error instanceof CliError && error.isTransient) return null;
    throw error;
  }
}

/** The number of the version that is meant by `delays@3`. */
function blessable(text: string, policy: Policy): string {
  const [, model = '', versionId = ''] = /^(.+)@([1-8])$/.exec(text) ?? [];
  if (versionId !== '' && (model === 'delays' || model === modelOf(policy))) return versionId;
  throw usage(`Expected one of delays@1 to delays@8 for --bless, got "${text}"`);
}

function whatToTry(local: LocalSystem, { proxyKey }: Places, decided: RolloutView | null): string[] {
  const id = decided?.id ?? 'ID';
  const flight =
    '{"instances":[{"origin":"DTW","destination":"LAS","distanceMiles":1750,"departureHour":17,"weekday":5}]}';
  return [
    '',
    'The system stays up, and this shows what happens. Ctrl-C stops it. In another terminal, try:',
    '  npm run rollouts -- bless delays@3          a bad one: it fails on evening flights',
    '  npm run rollouts -- pause ID                and resume, abort, promote',
    `  npm run rollouts -- journal ${id}  why it went as it did`,
    '  npm run rollouts -- list',
    `  the dashboard: ${local.dashboard}`,
    `  curl ${local.predictUrl} -H 'x-goog-api-key: ${proxyKey}' -H 'content-type: application/json' -d '${flight}'`,
  ];
}

function usage(message: string): CliError {
  return new CliError(message, { exitCode: exitCodes.usage });
}

/** Resolves with the reason, once, when somebody or something wants us to end. */
function askedToStop(): Promise<string> {
  return new Promise((resolve) => {
    // Not `once`: npm passes on a Ctrl-C that we have had already, which must not end us before our processes.
    process.on('SIGINT', () => resolve('Stopping.'));
    for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(`Stopping on ${signal}.`));
    process.stdout.on('error', () => resolve('Stopping: nobody reads any more.'));
    onceOrphaned(() => resolve('Stopping: npm has ended.'));
  });
}

if (import.meta.main) {
  const { stdout, stderr, env } = process;
  const user = env['USER'] ?? 'npm start';
  const world = { stdout, stderr, env, folder: process.cwd(), user, now: Date.now, sleep: (ms: number) => sleep(ms) };
  // What is still being asked of a system that has ended must not hold us back.
  process.exit(await main(process.argv.slice(2), world, askedToStop()));
}
