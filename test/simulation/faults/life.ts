/**
 * One life, from a seed: some endpoints, their rollouts from the first blessing to the last end, and all that goes wrong on the
 * way. Faults end after a while; then everything must come to its right end within bounded time.
 */
import { z } from 'zod';
import { mergeAliases } from '../../../emulator/world/aliases.ts';
import { undeployModel } from '../../../emulator/world/deployments.ts';
import { resolveVersion } from '../../../emulator/world/models.ts';
import { type Random, seededRandom } from '../../../emulator/models/random.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { topics } from '../../../functions/engine/publish.ts';
import { memoryStore } from '../memory-store.ts';
import { agenda as agendaOf } from './agenda.ts';
import { chaos as chaosOf, type FaultKind, pickWith } from './chaos.ts';
import { type Checkers, checkers, type Law } from './checkers.ts';
import { beganAt, cloud as cloudOf, periodMs, type Site } from './cloud.ts';
import { checkEnds } from './ends.ts';
import type { Backstage, Planted } from './instances.ts';
import { people } from './people.ts';
import { planOf } from './plan.ts';
import { type Letter, post as postOf } from './post.ts';
import { within } from './surroundings.ts';

export interface LifeOptions {
  /** Numbers of faults that do not happen. */
  leftOut?: ReadonlySet<number>;
  /** Lines are added to it: the awaits, events, faults and decisions of the life. */
  story?: string[];
  planted?: Planted;
  /** How often each message is delivered, ticks aside, where nothing else goes wrong. */
  calmWithCopies?: number;
}

export interface LifeResult {
  seed: number;
  rollouts: number;
  awaits: number;
  faults: Partial<Record<FaultKind, number>>;
  faultsDrawn: number;
  minutes: number;
  violation: { law: Law; text: string; at: number } | null;
  /** By endpoint: how each rollout ended, and who serves. */
  ends: string[];
}

const outcomeSchema = z.object({
  messageId: z.string(),
  outcome: z.enum(['done', 'ignored', 'rejected']),
  message: z.string(),
});

const bodySchema = z.record(z.string(), z.unknown());

/** Nobody overtakes anybody. */
function inOrder(): Random {
  let count = 0;
  return () => (count += 1);
}

/** Nothing may still be under way so long after the faults have ended. */
const ticksMax = 180;
const faultyMinutes = 9;
const words = ['pause', 'resume', 'abort', 'promote', 'promote-full', 'approve', 'retry', 'pause', 'abort'] as const;
type Word = (typeof words)[number];

/** Lives one life. Lives must not overlap: each has the process's timers and log for itself. */
export function live(
  seed: number,
  { leftOut = new Set(), story, planted = {}, calmWithCopies }: LifeOptions = {},
): Promise<LifeResult> {
  // What the life is about, what goes wrong, and who is first at one instant: three sources, so that they stay apart.
  const random = seededRandom(seed);
  const pick = <T>(items: readonly T[]): T => pickWith(random, items);
  const isCalm = calmWithCopies !== undefined;
  let violation: LifeResult['violation'] = null;
  // Until the world is made, which is drawn with faults that are told of.
  let now = (): number => beganAt;
  const violate = (law: Law, text: string): void => {
    violation ??= { law, text, at: now() };
    tell(() => `VIOLATION of law ${law}: ${text}`);
  };
  const tell = (line: () => string): void => {
    story?.push(`${((now() - beganAt) / 1000).toFixed(1).padStart(7)} s  ${line()}`);
  };

  // The first draws shape the life, so that leaving out a fault changes nothing else in the plan.
  const hazard = [0, 0.002, 0.005, 0.01, 0.02][Math.floor(random() * 5)] ?? 0;
  const chaos = chaosOf(seededRandom(seed + 0x9e3779b9), random, hazard, leftOut, (what) => tell(() => what));
  if (isCalm) chaos.end();
  const { sites, policies, bad, sick } = planOf(random, chaos);
  const cloud = cloudOf(sites);
  now = () => cloud.now();
  for (const { model, versionId, errorRatio, fromAt } of bad) cloud.misbehave(model, versionId, errorRatio, fromAt);
  for (const { model, versionId } of sick) cloud.sicken(model, versionId);
  for (const { endpoint, layout } of sites) if (layout === 'one' && random() < 0.3) cloud.autoscale(endpoint, '1', 3);
  // Small pages, so that a tick is passed on from instance to instance even among a few endpoints.
  Object.assign(limits, { recordsPerTick: random() < 0.2 ? 1 : 200 });

  const agenda = agendaOf(isCalm ? inOrder() : seededRandom(seed + 0x3c6ef372));
  const store = memoryStore();
  const seen: Checkers = checkers(cloud, violate);
  const schedule = { isPaused: true };
  let attention = 0;
  const stage: Backstage = {
    cloud,
    chaos,
    agenda,
    store,
    policies,
    planted,
    schedule,
    tell,
    outages: new Set(),
    awaits: 0,
    disturb,
    witness: {
      ...seen,
      published: (topic, { data, attributes }) => {
        if (attributes['what'] === 'attention') attention += 1;
        if (topic !== topics.ticks) return;
        const body = bodySchema.parse(JSON.parse(Buffer.from(data).toString()));
        send({ door: 'onTick', body, outcome: null, isDone: false });
      },
    },
  };
  const post = postOf(
    stage,
    chaos.strikes('clockSkew', 0.4, () => 'every instance'),
    (text) => violate('bug', text),
  );
  const onLog = (line: string): void => {
    tell(() => `      ${line.trim().slice(0, 400)}`);
    if (line.includes('"outcome":')) {
      const { messageId, outcome, message } = outcomeSchema.parse(JSON.parse(line));
      post.heard(messageId, { kind: outcome, text: message });
    }
    if (line.includes('"CRITICAL"') && /TypeError|RangeError|ZodError|ReferenceError|SyntaxError|statechart/.test(line))
      violate('bug', line);
  };

  const blessed: Letter[] = [];
  const commanded: Letter[] = [];
  let serial = 0;
  let planned = 0;
  const minute = (from: number, to: number): number => beganAt + (from + random() * (to - from)) * 60_000;
  const later = (at: number, act: () => void): void => {
    planned += 1;
    agenda.add(at, () => {
      planned -= 1;
      act();
    });
  };

  function send(letter: Letter): void {
    const isTick = letter.door === 'onTick';
    const copies = isTick
      ? 1
      : (calmWithCopies ?? (chaos.strikes('messageDuplicated', 0.08, () => letter.door) ? 2 : 1));
    for (let copy = 0; copy < copies; copy += 1) {
      const waitMs = !isTick && chaos.strikes('messageDelayed', 0.1, () => letter.door) ? chaos.between(0, 240_000) : 0;
      const paceMs = chaos.isOn && chaos.random() < 0.2 ? chaos.pick([500, 5000, 20_000]) : 0;
      later(cloud.now() + waitMs + copy, () => post.deliver(letter, paceMs));
    }
  }

  function sendBlessing({ endpoint, model }: Site): void {
    const versionId = pick(['2', '3', '4', '5']);
    const eventId = `blessing-${(serial += 1)}`;
    const blessedAt = new Date(cloud.now()).toISOString();
    if (random() < 0.25) {
      const found = resolveVersion(cloud.world.context, `${model}@${versionId}`);
      mergeAliases(cloud.world.context, found.model, found.version, ['blessed']);
      tell(() => `${model}@${versionId} gets the alias "blessed"`);
      if (chaos.strikes('messageLost', 0.4, () => `the blessing of version ${versionId}`)) return;
      const methodName = 'google.cloud.aiplatform.v1.ModelService.MergeVersionAliases';
      const request = { name: model, versionAliases: ['blessed'] };
      const body = {
        insertId: eventId,
        timestamp: blessedAt,
        protoPayload: { methodName, resourceName: model, request },
      };
      return send({ door: 'onBlessing', body, outcome: null, isDone: false });
    }
    const body = {
      eventId,
      model,
      versionId,
      blessedAt,
      by: 'train@example.com',
      ...(random() < 0.8 ? { endpoint } : {}),
    };
    const letter: Letter = { door: 'onBlessing', body, outcome: null, isDone: false };
    blessed.push(letter);
    send(letter);
  }

  function say(site: Site, word: Word, by: string): Letter {
    const commandId = `command-${(serial += 1)}`;
    const body = { command: word, endpoint: site.endpoint, by, reason: `${commandId} of ${by}`, commandId };
    const letter: Letter = { door: 'onCommand', body, outcome: null, isDone: false };
    commanded.push(letter);
    send(letter);
    return letter;
  }

  function sendIncident({ endpoint }: Site): void {
    const labels = { endpoint_id: endpoint.split('/').at(-1) ?? '', location: 'us-central1' };
    const incident = {
      incident_id: `incident-${(serial += 1)}`,
      state: 'open',
      summary: 'too slow',
      resource: { labels },
    };
    send({ door: 'onIncident', body: { incident, version: '1.2' }, outcome: null, isDone: false });
  }

  function sendEvidence({ endpoint, requestsPerSecond }: Site): void {
    const { split, deployedModels } = cloud.endpoint(endpoint);
    const variants: Record<string, { requests: number; errors: number; latencyMs: unknown }> = {};
    for (const [id, percent] of Object.entries(split)) {
      const deployed = deployedModels.find((one) => one.id === id);
      const fault = bad.find(({ model, versionId }) => model === deployed?.model && versionId === deployed.versionId);
      const requests = Math.floor((requestsPerSecond * 10 * percent) / 100);
      const errors = fault !== undefined && fault.fromAt <= cloud.now() ? Math.floor(requests * fault.errorRatio) : 0;
      variants[id] = { requests, errors, latencyMs: { bounds: [20], counts: [requests, 0] } };
    }
    const window = {
      from: new Date(cloud.now() - 10_000).toISOString(),
      to: new Date(cloud.now()).toISOString(),
    };
    seen.reported(endpoint, variants);
    send({ door: 'onEvidence', body: { endpoint, window, source: 'a', variants }, outcome: null, isDone: false });
  }

  /** Somebody gives the serving models other shares. */
  function changeSplit({ endpoint }: Site): void {
    const serving = cloud.endpoint(endpoint).deployedModels.filter(({ phase }) => phase === 'deployed');
    const [first, second] = [serving[0]?.id, serving.at(-1)?.id];
    if (first === undefined || second === undefined) return;
    const percent = Math.floor(chaos.random() * 101);
    const split = first === second ? { [first]: 100 } : { [first]: 100 - percent, [second]: percent };
    cloud.setSplit(endpoint, split, '');
    seen.meddled(endpoint, split);
    tell(() => `somebody else sets the split of ${endpoint} to ${JSON.stringify(split)}`);
  }

  /** Somebody undeploys what serves nothing, under the controller's eyes. */
  function changeDeployment({ endpoint }: Site): void {
    const { split, deployedModels } = cloud.endpoint(endpoint);
    const idle = deployedModels.find(({ id, phase }) => phase === 'deployed' && (split[id] ?? 0) === 0);
    if (idle === undefined) return;
    tell(() => `somebody else undeploys ${idle.id} of ${endpoint}`);
    seen.meddled(endpoint, split);
    undeployModel(cloud.world.context, endpoint, idle.id, {});
  }

  function disturb(): void {
    const site = chaos.pick(sites);
    const draw = chaos.random();
    if (draw < 0.1 && chaos.strikes('splitChanged', 1, () => site.endpoint)) return changeSplit(site);
    if (draw < 0.45) return sendTick('tick', 0);
    if (draw < 0.85) return void say(site, chaos.pick(words), 'eve');
    return sendBlessing(site);
  }

  function sendTick(kind: 'tick' | 'reconcile', waitMs: number): void {
    agenda.add(cloud.now() + waitMs, () => send({ door: 'onTick', body: { kind }, outcome: null, isDone: false }));
  }

  // Cloud Scheduler: a tick every minute while its job is not paused, and reconcile always.
  let ticks = 0;
  let ticksSinceCalm = 0;
  let reconciledAt = 0;
  function everyMinute(): void {
    ticks += 1;
    if (!schedule.isPaused && !chaos.strikes('tickMissed', 0.03, () => 'a tick')) {
      sendTick('tick', chaos.strikes('tickLate', 0.04, () => 'a tick') ? chaos.between(0, 80_000) : 0);
      if (chaos.strikes('tickDoubled', 0.04, () => 'a tick')) sendTick('tick', chaos.between(0, 3000));
    }
    if (ticks % 6 === 3 && !chaos.strikes('tickMissed', 0.05, () => 'reconcile')) {
      sendTick('reconcile', 0);
      if (isMended) reconciledAt = cloud.now();
    }
    if (isMended) ticksSinceCalm += 1;
    for (const site of sites) attend(site);
    agenda.add(cloud.now() + periodMs, everyMinute);
  }

  const attend = people({
    cloud,
    seen,
    random,
    wasTold: () => attention > 0,
    say: (site, word) => void say(site, word, 'ann'),
    tell,
    violate,
  });

  let isMended = false;
  function mend(): void {
    isMended = true;
    chaos.end();
    tell(() => 'faults are over');
    stage.outages.clear();
    cloud.world.context.conditions.operationsAreStuck = false;
    cloud.world.context.timings.deployMs = 40_000;
    for (const fault of cloud.metricFaults) fault.toAt = Math.min(fault.toAt, cloud.now());
    for (const { endpoint } of sites)
      for (const { id, health } of cloud.endpoint(endpoint).deployedModels)
        if (health === 'unhealthy') cloud.setHealth(endpoint, id, 'healthy');
  }

  // What this life is about, and what goes wrong in the world around the controller.
  for (const site of sites) {
    later(minute(0, 3), () => sendBlessing(site));
    if (random() < 0.5) later(minute(2, 7), () => sendBlessing(site));
    if (random() < 0.1) later(minute(4, 8), () => sendBlessing(site));
    for (const chance of [0.4, 0.2, 0.1]) {
      const at = minute(1, 8);
      if (chaos.happens('command', chance, () => site.endpoint)) later(at, () => void say(site, pick(words), 'bob'));
    }
    if (chaos.happens('incident', 0.1, () => site.endpoint)) later(minute(2, 8), () => sendIncident(site));
    for (const chance of [0.3, 0.2]) {
      if (chaos.happens('evidenceReported', chance, () => site.endpoint)) later(minute(2, 8), () => sendEvidence(site));
    }
    if (chaos.strikes('splitChanged', 0.08, () => site.endpoint)) later(minute(2, 8), () => changeSplit(site));
    if (chaos.strikes('deploymentChanged', 0.05, () => site.endpoint))
      later(minute(2, 8), () => changeDeployment(site));
    if (chaos.strikes('replicasLost', 0.05, () => site.endpoint)) {
      const at = minute(2, 7);
      const { endpoint } = site;
      later(at, () => {
        const id = chaos.pick(
          cloud
            .endpoint(endpoint)
            .deployedModels.map((one) => one.id)
            .concat('1'),
        );
        cloud.setHealth(endpoint, id, 'unhealthy');
        seen.ailing.add(endpoint);
        tell(() => `${id} of ${endpoint} loses its replicas`);
        later(cloud.now() + chaos.between(30_000, 240_000), () => cloud.setHealth(endpoint, id, 'healthy'));
      });
    }
  }
  const kinds = { metricGap: 'gap', metricLag: 'lag', metricsRestated: 'restated' } as const;
  for (const kind of ['metricGap', 'metricLag', 'metricsRestated'] as const) {
    const fromAt = minute(0, 7);
    if (chaos.strikes(kind, 0.12, () => 'Monitoring'))
      cloud.metricFaults.push({ kind: kinds[kind], fromAt, toAt: fromAt + chaos.between(60_000, 300_000) });
  }
  for (const service of ['store', 'endpoints', 'operations', 'metrics', 'bus', 'schedule', 'models', 'policies']) {
    if (!chaos.strikes('outage', 0.03, () => service)) continue;
    const at = minute(0, 7);
    later(at, () => stage.outages.add(service));
    later(at + chaos.between(20_000, 200_000), () => stage.outages.delete(service));
  }
  if (chaos.strikes('operationsStuck', 0.06, () => 'all')) {
    const at = minute(0, 6);
    later(at, () => (cloud.world.context.conditions.operationsAreStuck = true));
    later(at + chaos.between(60_000, 400_000), () => (cloud.world.context.conditions.operationsAreStuck = false));
  }
  if (chaos.strikes('operationsSlow', 0.08, () => 'deployments')) cloud.world.context.timings.deployMs = 200_000;
  if (chaos.strikes('tickJobPaused', 0.04, () => 'the tick job')) later(minute(2, 7), () => (schedule.isPaused = true));
  agenda.add(beganAt + 30_000, everyMinute);

  const isOver = (): boolean =>
    planned === 0 &&
    post.underWay === 0 &&
    sites.every(({ endpoint }) => {
      const record = seen.records.get(endpoint);
      return record === undefined || (record.active === null && record.queued === null && record.outbox.length === 0);
    });

  return within({ onLog, agenda, now }, async () => {
    for (;;) {
      const next = agenda.next();
      if (next === null || violation !== null) break;
      cloud.advanceTo(next.at);
      next.act();
      // Whatever can go on without waiting goes on now.
      await new Promise((resolve) => setImmediate(resolve));
      if (!isMended && (cloud.now() - beganAt > faultyMinutes * 60_000 || (ticks > 4 && isOver()))) mend();
      if (ticksSinceCalm > 2 && isOver() && schedule.isPaused && reconciledAt > 0 && cloud.now() > reconciledAt) break;
      if (ticksSinceCalm > ticksMax) {
        const states = sites.map(({ endpoint }) => {
          const active = seen.records.get(endpoint)?.active ?? null;
          return `${endpoint.split('/').at(-1)} ${active === null ? 'idle' : JSON.stringify(active.value)} ${active?.context.reason ?? ''}`;
        });
        violate(
          'liveness',
          `not over ${ticksMax} minutes after the last fault: ${states.join('; ')}; paused ${schedule.isPaused}, ${post.underWay} deliveries under way`,
        );
      }
    }
    if (violation === null)
      checkEnds({ cloud, seen, sites, bad, blessed, commanded, hasAttention: attention > 0 }, violate);

    return {
      seed,
      rollouts: seen.rollouts.size,
      awaits: stage.awaits,
      faults: chaos.injected,
      faultsDrawn: chaos.drawn,
      minutes: (cloud.now() - beganAt) / 60_000,
      violation,
      ends: sites.map(({ endpoint }) => {
        const history = seen.records.get(endpoint)?.history ?? [];
        return `${history.map((one) => `${one.versionId} ${one.state}`).join(', ')}: ${JSON.stringify(cloud.endpoint(endpoint).split)}`;
      }),
    };
  });
}
