/** Does lint say whether a policy can decide in time, once and at its line, and fail only where it is asked to? */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addPolicy } from '../../cli/policy.ts';
import type { World } from '../../cli/world.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policy-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function lint(...args: string[]): Promise<{ code: number | null; out: string }> {
  const said: string[] = [];
  let code: number | null = null;
  const sink = { write: (text: string) => said.push(text) };
  const world: World = {
    stdout: sink,
    stderr: sink,
    env: {},
    folder,
    user: 'ann',
    now: () => 0,
    sleep: () => Promise.resolve(),
  };
  const program = new Command().exitOverride();
  addPolicy(program, world, (each) => {
    code = each;
  });
  await program.parseAsync(['policy', 'lint', ...args], { from: 'user' });
  return { code, out: said.join('') };
}

/** The analysis is on line 7. */
async function put(name: string, analysis: string): Promise<void> {
  const text = `apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: "*"
  endpoint: projects/p/locations/us-central1/endpoints/1
  analysis: { ${analysis} }
`;
  await writeFile(join(folder, name), text);
}

const warningsIn = (out: string): string[] => out.split('\n').filter((line) => line.includes('warning: '));

describe('policy lint', () => {
  test.each(['delays.yaml', 'delays.production.yaml'])('has nothing to warn of in %s', async (file) => {
    const path = resolve(import.meta.dirname, '../../cli/policies', file);
    expect(await lint('--strict', '--rate', '20/s', path)).toEqual({ code: 0, out: `${path}: ok, policy delays\n` });
  });

  test('warns once, at its line, of patience that ends before anything is known', async () => {
    await put('hasty.yaml', 'noData: { after: 2m }');
    const { code, out } = await lint('hasty.yaml');
    expect(code).toBe(0);
    expect(warningsIn(out)).toEqual([
      expect.stringMatching(/^hasty\.yaml:7:32 spec\.analysis\.noData\.after: warning: .* Wait for 5m or more\.$/),
    ]);
  });

  test("knows the metrics of a local run, whose points are a second long, from Google's", async () => {
    await put('local.yaml', 'metricLag: 3s, noData: { after: 5s }, inconclusive: { after: 4s }');
    const { out } = await lint('local.yaml');
    expect(warningsIn(out)).toEqual([expect.stringContaining('read 5s after it took effect')]);
    expect(out).toContain('spec.analysis.inconclusive.after');
  });

  test('warns of a step that gets too few requests only when it knows how many come', async () => {
    await put('quiet.yaml', 'minRequests: 1000');
    expect(warningsIn((await lint('quiet.yaml')).out)).toEqual([]);
    expect(warningsIn((await lint('quiet.yaml', '--rate', '20/s')).out)).toEqual([]);
    expect(warningsIn((await lint('quiet.yaml', '--rate', '1')).out)).toEqual([
      expect.stringMatching(/^quiet\.yaml:7:28 spec\.analysis\.minRequests: warning: at 1 request\/s step 1 /),
    ]);
  });

  test('fails on warnings when it is to be strict, and not otherwise', async () => {
    await put('hasty.yaml', 'noData: { after: 2m }');
    await put('good.yaml', '');
    expect((await lint('good.yaml', 'hasty.yaml')).code).toBe(0);
    expect((await lint('--strict', 'good.yaml', 'hasty.yaml')).code).toBe(2);
    expect((await lint('--strict', 'good.yaml')).code).toBe(0);
  });

  test('has its warnings in JSON', async () => {
    await put('hasty.yaml', 'noData: { after: 2m }');
    const { out } = await lint('--json', 'hasty.yaml');
    expect(JSON.parse(out)).toMatchObject([
      { ok: true, warnings: [{ path: 'spec.analysis.noData.after', line: 7, column: 32, instead: null }] },
    ]);
  });

  test.each(['many', '0', '-1', '20/m', '1e3', ''])('refuses a rate of "%s"', async (rate) => {
    await put('good.yaml', '');
    await expect(lint('good.yaml', `--rate=${rate}`)).rejects.toMatchObject({ exitCode: 2 });
  });
});
