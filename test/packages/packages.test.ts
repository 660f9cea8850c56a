import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { judgeAudit } from './audit.ts';
import { licenceProblems } from './licences.ts';

describe('licences', () => {
  test.each([
    ['MIT', 0],
    ['(GPL-3.0 OR MIT)', 0],
    ['MIT AND ISC', 0],
    ['GPL-3.0', 1],
    ['MIT AND GPL-3.0', 1],
    ['SEE LICENSE IN x.txt', 1],
    [undefined, 1],
  ])('a package of production under %s has %i problem', (license, problems) => {
    expect(licenceProblems(folderWith({ 'node_modules/a': { license } }, {}))).toHaveLength(problems);
  });

  test('what only development needs is not looked at, nor what is not installed here', () => {
    expect(licenceProblems(folderWith({ 'node_modules/a': { license: 'GPL-3.0' } }, { dev: true }))).toEqual([]);
    expect(licenceProblems(folderWith({}, {}))).toEqual([]);
  });
});

describe('an audit', () => {
  const report = (high: number) => JSON.stringify({ metadata: { vulnerabilities: { low: 3, high, critical: 0 } } });

  test('is clean, or unsafe from "high" upwards', () => {
    expect(judgeAudit(report(0))).toEqual({ kind: 'clean' });
    expect(judgeAudit(report(2))).toMatchObject({ kind: 'unsafe', text: expect.stringContaining('2 high') });
  });

  test.each(['', '{"error":{"summary":"","detail":""}}', 'ENOTFOUND'])('that says "%s" is no answer', (printed) => {
    expect(judgeAudit(printed).kind).toBe('unanswered');
  });
});

/** Where `node_modules/a` is locked, with these marks, and these packages are installed. */
function folderWith(packages: Record<string, object>, marks: object): string {
  const folder = mkdtempSync(join(tmpdir(), 'rollouts-packages-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const put = (file: string, content: object): void => {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), JSON.stringify(content));
  };
  put('package-lock.json', { packages: { '': {}, 'node_modules/a': marks } });
  for (const [path, content] of Object.entries(packages)) put(join(path, 'package.json'), content);
  return folder;
}
