import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parsePolicy } from '../../../machines/policy/document.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { parseFreezeWindow } from '../../../machines/policy/windows.ts';

const text = readFileSync(join(import.meta.dirname, '../../../docs/policy.md'), 'utf8');
const [smallest = '', ownChecks = '', full = ''] = [...text.matchAll(/^```yaml\n([^]*?)^```/gm)].map(
  ([, yaml = '']) => yaml,
);
/** The example of checks is a part of a policy's `spec`. */
const withOwnChecks = `${smallest}${ownChecks.replaceAll(/^/gm, '  ').trimEnd()}\n`;
const fields = [...text.matchAll(/^\| `([\w.[\]]+)` \| (?:`([^`]*)`)?(.*?) \|/gm)].map(
  ([, path = '', value, rest = '']) => ({ path: path.replace(/^spec\./, ''), value, rest }),
);

function policy(yaml: string): Policy {
  const parsed = parsePolicy(yaml);
  if (parsed.kind === 'invalid') throw new Error(JSON.stringify(parsed.problems));
  return parsed.policy;
}

/** The paths of a document's leaves: `analysis.errorRate.max`, `steps[].percent`. */
function leaves(value: unknown, path = ''): string[] {
  if (Array.isArray(value)) return [...new Set(value.flatMap((item) => leaves(item, `${path}[]`)))];
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, path === '' ? key : `${path}.${key}`));
}

test('every example of the reference is a policy', () => {
  expect([smallest, withOwnChecks, full].map((yaml) => policy(yaml).name)).toEqual(['delays', 'delays', 'delays']);
});

test('the example of checks has every rule and every source, and nothing to warn of', () => {
  const parsed = parsePolicy(withOwnChecks);
  expect(parsed).toMatchObject({ kind: 'ok', warnings: [] });
  const { checks } = policy(withOwnChecks).analysis;
  expect(new Set(checks.map(({ rule }) => rule.kind))).toEqual(new Set(['rate', 'quantile', 'drift', 'limit']));
  expect(new Set(checks.map(({ from }) => from.kind))).toEqual(
    new Set(['filter', 'promql', 'reported', 'requestLog', 'modelMonitoring']),
  );
});

test('the reference has a row for every field of its examples, or for the field around it', () => {
  const documented = new Set(fields.map(({ path }) => path));
  const isDocumented = (path: string): boolean => {
    const around = path.replace(/(\[\]|\.\w+)$/, '');
    return documented.has(path) || (around !== path && isDocumented(around));
  };
  const { metadata, spec } = parse(full);
  const missing = [...leaves({ metadata }), ...leaves(spec), ...leaves(parse(ownChecks))].filter(
    (path) => !isDocumented(path) && path !== 'freeze[]',
  );
  expect(missing).toEqual([]);
});

test('writing the defaults of the reference out changes nothing', () => {
  const defaults = fields.filter(({ path, value, rest }) => value !== undefined && rest === '' && !path.includes('[]'));
  const written = defaults.map(({ path, value = '' }) => {
    const keys = path.split('.');
    return `  ${keys.map((key) => `${key}: `).join('{ ')}${value}${' }'.repeat(keys.length - 1)}`;
  });
  expect(written.length).toBeGreaterThan(20);
  // One at a time, because two fields of one mapping would repeat its key. Drift is off until it is asked for.
  const changing = written.filter((line) => !isDeepStrictEqual(policy(`${smallest}${line}\n`), policy(smallest)));
  expect(changing).toEqual(['  analysis: { drift: { maxDistance: 0.3 } }', '  analysis: { drift: { dryRun: false } }']);
});

test('every freeze window of the reference is one', () => {
  const windows = [...text.matchAll(/^\| `"(.*?)"` \|/gm)].map(([, window = '']) => parseFreezeWindow(window).kind);
  expect(windows).toEqual(['ok', 'ok', 'ok']);
});
