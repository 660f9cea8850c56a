/** What is a life about? Endpoints, policies and versions, drawn from the seed. What happens to them is in life.ts. */
import type { Policy } from '../../../machines/policy/policy.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import type { Random } from '../../../emulator/models/random.ts';
import { type Chaos, pickWith } from './chaos.ts';
import { beganAt, models, places, project, type Site, versionsMax } from './cloud.ts';

export interface Plan {
  sites: Site[];
  policies: Policy[];
  /** Shares of errors by version, from an instant on; those not named are good. */
  bad: { model: string; versionId: string; errorRatio: number; fromAt: number }[];
  sick: { model: string; versionId: string }[];
}

export const projectId = project;

const hold = { holdSeconds: 60, approval: false };
const staircases: Policy['steps'][] = [
  [
    { percent: 25, ...hold },
    { percent: 100, ...hold },
  ],
  [
    { percent: 10, ...hold },
    { percent: 50, ...hold },
    { percent: 100, ...hold },
  ],
  [{ percent: 100, ...hold }],
  [
    { percent: 20, holdSeconds: 0, approval: true },
    { percent: 100, ...hold },
  ],
  [
    { percent: 5, ...hold },
    { percent: 100, holdSeconds: 0, approval: false },
  ],
];

const base = policyOf();

export function planOf(random: Random, chaos: Chaos): Plan {
  const pick = <T>(items: readonly T[]): T => pickWith(random, items);
  const sites: Site[] = [];
  const count = pick([1, 2, 2, 3, 3, 4]);
  while (sites.length < count) {
    const layout = pick(['one', 'one', 'one', 'one', 'two', 'two', 'none'] as const);
    const place = pick(places.filter((one) => one.layout === layout));
    if (sites.every((site) => site.endpoint !== place.endpoint))
      sites.push({ ...place, requestsPerSecond: pick([20, 50, 80]) });
  }
  const versions = models.flatMap((model) =>
    Array.from({ length: versionsMax - 2 }, (_, i) => ({ model, versionId: String(i + 2) })),
  );
  const bad: Plan['bad'] = [];
  const sick: Plan['sick'] = [];
  for (const version of versions) {
    const draw = random();
    if (draw < 0.3) bad.push({ ...version, errorRatio: 0.6, fromAt: 0 });
    else if (draw < 0.4) bad.push({ ...version, errorRatio: 0.6, fromAt: beganAt + 180_000 + random() * 220_000 });
    else if (chaos.strikes('deploymentSick', 0.02, () => `version ${version.versionId} of ${version.model}`))
      sick.push(version);
  }
  return { sites, policies: sites.map((site) => policyFor(site, random)), bad, sick };
}

function policyFor({ endpoint, model }: Site, random: Random): Policy {
  const pick = <T>(items: readonly T[]): T => pickWith(random, items);
  const then = pick(['pause', 'rollBack'] as const);
  const from = Math.floor(2 + random() * 6);
  const to = from + 4 + Math.floor(random() * 5);
  const window = {
    fromMinuteOfWeek: from,
    toMinuteOfWeek: to,
    timeZone: 'UTC',
    text: `Mon 00:0${from}, ${to - from} min`,
  };
  return {
    ...base,
    name: `policy-${endpoint.split('/').at(-1)}`,
    match: { kind: 'model', model },
    endpoint,
    steps: pick(staircases),
    analysis: {
      ...base.analysis,
      metricLagSeconds: 20,
      errorRate: { maxRatio: 0.5, marginRatio: 0.2, dryRun: false },
      latency: random() < 0.8 ? null : base.analysis.latency,
      inconclusive: { afterSeconds: 300, outcome: then },
      noData: { afterSeconds: 240, outcome: then },
      incident: pick(['pause', 'rollBack', 'ignore'] as const),
    },
    deploy: { ...base.deploy, deadlineSeconds: 480 },
    keepStableSeconds: pick([0, 0, 60]),
    keepFailedCanarySeconds: pick([0, 0, 0, 90]),
    onNewBlessing: pick(['replace', 'queue'] as const),
    freeze: random() < 0.1 ? [window] : [],
  };
}
