/** What does a person do who sees to the rollouts? Whatever waits for one gets one after two minutes. */
import { deployModel } from '../../../emulator/world/deployments.ts';
import type { Random } from '../../../emulator/models/random.ts';
import { stateOf } from '../../../machines/rollout/describe.ts';
import { flags } from '../vertex-views.ts';
import type { Checkers, Law } from './checkers.ts';
import type { Cloud, Site } from './cloud.ts';

export interface Desk {
  cloud: Cloud;
  seen: Checkers;
  random: Random;
  /** True once a person was told that something needs one. */
  wasTold: () => boolean;
  say: (site: Site, word: 'abort' | 'resume' | 'approve') => void;
  tell: (line: () => string) => void;
  violate: (law: Law, text: string) => void;
}

const minutesMin = 2;
/** Whatever was paused for so long is given up. */
const pausedMinutesMax = 30;
/** To deploy a model takes a person longer than to say a word. */
const strandedMinutesMin = 20;
/** Nobody resumes for ever what pauses again each time. */
const resumesMax = 10;

/** Returns what sees to an endpoint, asked once a minute. */
export function people({ cloud, seen, random, wasTold, say, tell, violate }: Desk): (site: Site) => void {
  const waiting = new Map<string, number>();
  const resumed = new Map<string, number>();

  function attend(site: Site): void {
    const active = seen.records.get(site.endpoint)?.active ?? null;
    const isPaused = active?.value.pause === 'paused';
    const isStranded = active !== null && stateOf(active) === 'rollingBack' && hasNoStable(site);
    const waits = isPaused || isStranded || (active !== null && stateOf(active) === 'awaitingApproval');
    const minutes = waits ? (waiting.get(site.endpoint) ?? 0) + 1 : 0;
    waiting.set(site.endpoint, minutes);
    if (active === null || minutes < minutesMin) return;
    const { id, paused } = active.context;
    if (isStranded) {
      if (minutes > strandedMinutesMin) deployByHand(site);
    } else if (isPaused) {
      if (paused === null || paused.reason === '') violate('liveness', `${id} is paused and does not say why`);
      const times = resumed.get(id) ?? 0;
      const isLeft = minutes > pausedMinutesMax || random() < 0.3 || times >= resumesMax;
      if (!isLeft) resumed.set(id, times + 1);
      say(site, isLeft ? 'abort' : 'resume');
    } else say(site, 'approve');
  }

  /** The canary has traffic, and nothing that it could go back to is left: somebody else undeployed it. */
  function hasNoStable({ endpoint }: Site): boolean {
    const { canaryId = '', stable } = seen.records.get(endpoint)?.active?.context ?? {};
    const { split, deployedModels } = cloud.endpoint(endpoint);
    return (split[canaryId] ?? 0) > 0 && deployedModels.every(({ id }) => (stable?.[id] ?? 0) === 0);
  }

  function deployByHand({ endpoint, model }: Site): void {
    if (!wasTold()) violate('liveness', `${endpoint}: nothing can take the traffic back, and nobody was told`);
    tell(() => `ann deploys version 1 on ${endpoint}, and gives it the traffic`);
    const order = { id: '77', model: `${model}@1`, displayName: 'by hand', ...flags };
    deployModel(cloud.world.context, endpoint, order, { '0': 100 });
    cloud.startContainer(endpoint, '77');
    seen.meddled(endpoint, { 77: 100 });
  }

  return attend;
}
