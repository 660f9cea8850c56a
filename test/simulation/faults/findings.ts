/**
 * What is known to break a law, and not mended yet? Counted and named in every run, and not a violation of it. An entry goes
 * when its mend comes; a new one names a seed that shows it.
 */
import type { Law } from './checkers.ts';

export interface Finding {
  name: string;
  law: Law;
  text: RegExp;
  seed: number;
}

const lateBad = 'a canary that fails most requests of its step is called healthy';
const lowered = 'a share that an abort took before it was recorded is not given back when the abort came too late';
const neverShifted = 'a rollout that never shifted leaves its canary what somebody else gave it';

export const openFindings: Finding[] = [
  { name: lateBad, law: 3, text: /healthy with/, seed: 389 },
  { name: lateBad, law: 2, text: /was promoted, though it answers most requests with errors/, seed: 839 },
  { name: neverShifted, law: 11, text: /is over, and/, seed: 37 },
  { name: lowered, law: 4, text: /though \d+ was promoted last/, seed: 4623 },
  { name: lowered, law: 10, text: /wrote \{\} for/, seed: 2757 },
  { name: lowered, law: 'liveness', text: /policy-\S+, deployed\) serves nothing/, seed: 2757 },
];
