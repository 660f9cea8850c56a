/** Where in the text does a problem point? At what it is about, or at the nearest around it that is there. */
import { describe, expect, test } from 'vitest';
import { formatProblem, parsePolicy } from '../../../machines/policy/document.ts';

const text = `apiVersion: rollouts/v1
kind: RolloutPolicy
metadata:
  name: delays
spec:
  match: { model: projects/p/locations/us-central1/models/m }
  endpoint: projects/p/locations/us-central1/endpoints/1
  steps:
    - percent: 5
    - percent: 100
`;

describe('a warning', () => {
  test.each([
    ['what is written', 'spec.steps[1].percent', 10, 16],
    ['a list, where the item is not', 'spec.steps[2].percent', 9, 5],
    ['a value, where nothing is within it', 'metadata.name.first', 4, 9],
    ['a mapping, where the key is not', 'metadata.label', 4, 3],
    ['the whole, where nothing of it is there', 'status', 1, 1],
  ])('points at %s', (_what, path, line, column) => {
    const parsed = parsePolicy(text, () => [{ path, message: 'think again', instead: null }]);
    expect(parsed.kind === 'ok' && parsed.warnings).toMatchObject([{ path, line, column }]);
  });
});

describe('a problem', () => {
  test.each([
    ['the whole, which is a list of lists', 32, 'p.yaml:1:1 expected a mapping with'],
    ['the level that is too many', 100, 'p.yaml:1:65 expected a policy, got one that is nested too deeply'],
  ])('points at %s', (_what, levels, said) => {
    const parsed = parsePolicy('['.repeat(levels) + ']'.repeat(levels));
    const [problem] = parsed.kind === 'invalid' ? parsed.problems : [];
    expect(problem && formatProblem('p.yaml', problem)).toContain(said);
  });
});
