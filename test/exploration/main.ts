/**
 * `npm run explore`: every state that a rollout can be in under small policies, everything that can happen in each, and the
 * laws on all of it. Ends with exit code 1 when a law is broken, a way has no end, or an arrow was never taken.
 */
import { explore } from './explore.ts';
import { endless } from './liveness.ts';
import { pathsTo } from './paths.ts';
import { cases } from './policies.ts';

const stepsMax = 20;

const startedAt = performance.now();
const { places, pairs, arrows, violations } = explore(cases);
const broken = [...violations.values(), ...endless(places.values())];
const unreached = arrows.all.filter((arrow) => !arrows.taken.has(arrow));

for (const { law, story } of broken) console.log(`\nbroken: ${law}\n  ${story.join('\n  ')}`);
for (const arrow of unreached) console.log(`\nnever taken: ${arrow}`);
const depth = [...places.values()].reduce((deepest, place) => Math.max(deepest, place.depth), 0);
const figures: [string, string | number, string][] = [
  ['seconds', Number(((performance.now() - startedAt) / 1000).toFixed(1)), 'seconds'],
  ['farthest', depth, 'steps'],
  ['paths', pathsTo(places.values(), stepsMax).toPrecision(3), `paths_of_at_most_${stepsMax}_steps`],
  ['arrows', arrows.taken.size, `of_${arrows.all.length}_arrows`],
  ['states', places.size, 'states'],
  ['pairs', pairs, 'pairs'],
  ['violations', broken.length, 'violations'],
];
for (const [figure, value, unit] of figures) console.log(`paths.${figure} ${value} ${unit}`);
process.exitCode = broken.length + unreached.length === 0 ? 0 : 1;
