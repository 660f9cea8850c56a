/**
 * Under which policies, and on which endpoints, is the machine explored? As few as have every choice that a claim reads.
 * Durations hardly matter: each wait may end before or after any other (see abstraction.ts).
 */
import type { Policy } from '../../machines/policy/policy.ts';
import type { ObservedModel } from '../../machines/rollout/events.ts';
import type { Split } from '../../machines/rollout/split.ts';
import { canaryId, canaryModel, policyOf, stableModel } from '../machines/rollout/life.ts';

/** What an endpoint is seen to be. */
export interface Endpoint {
  name: string;
  split: Split;
  models: ObservedModel[];
}

export interface Case {
  name: string;
  policy: Policy;
  /** What a rollout finds when it begins. */
  endpoints: Endpoint[];
  /** What somebody else makes of it. */
  foreign: Endpoint[];
}

const one: Endpoint = { name: 'one stable model', split: { 1: 100 }, models: [stableModel] };
const scaled: Endpoint = {
  name: 'a stable model that has scaled out',
  split: { 1: 100 },
  models: [{ ...stableModel, availableReplicas: 3 }],
};
const empty: Endpoint = { name: 'nothing', split: {}, models: [] };
const newcomer: ObservedModel = { ...stableModel, id: '9' };
const without: Endpoint = {
  name: 'another model instead of the canary',
  split: { 1: 60, 9: 40 },
  models: [stableModel, newcomer, canaryModel],
};
const all: Endpoint = { name: 'all for the canary', split: { [canaryId]: 100 }, models: [stableModel, canaryModel] };
const more: Endpoint = {
  name: 'more for the canary',
  split: { 1: 70, [canaryId]: 30 },
  models: [stableModel, canaryModel],
};
const none: Endpoint = { name: 'nothing for anybody', split: {}, models: [stableModel, canaryModel] };

const waits = (noDataAfter: string, noData: string, inconclusive: string, incident: string): string =>
  `  analysis: { metricLag: 1m, minRequests: 10, noData: { after: ${noDataAfter}, then: ${noData} }, inconclusive: { after: 2h, then: ${inconclusive} }, incident: ${incident} }`;
const freeze = '  freeze: [ "Fri 16:00 – Mon 08:00 UTC" ]';
const queue = '  onNewBlessing: queue';
const oneStep = '  steps: [ { percent: 100, hold: 10m } ]';
const twoSteps = '  steps: [ { percent: 10, hold: 10m }, { percent: 100, hold: 10m } ]';

function caseOf(name: string, endpoints: Endpoint[], foreign: Endpoint[], ...spec: string[]): Case {
  const policy = policyOf(['  keepStable: 1h', ...spec].join('\n'));
  // One check is enough for every verdict.
  return { name, policy: { ...policy, name, analysis: { ...policy.analysis, latency: null } }, endpoints, foreign };
}

export const cases: Case[] = [
  caseOf('two-steps', [one, empty], [without, all, none], twoSteps, waits('30m', 'pause', 'rollBack', 'pause')),
  caseOf(
    'approval',
    [scaled],
    [more],
    '  steps: [ { percent: 10, hold: 10m }, { percent: 50, hold: 10m, approval: true }, { percent: 100, hold: 10m } ]',
    waits('2h', 'rollBack', 'pause', 'rollBack'),
    queue,
    '  keepFailedCanary: 1h',
  ),
  caseOf('freeze', [one], [], twoSteps, waits('2h', 'rollBack', 'rollBack', 'ignore'), freeze, queue),
  caseOf('one-step', [one], [all], oneStep, waits('2h', 'pause', 'pause', 'rollBack'), freeze),
];
