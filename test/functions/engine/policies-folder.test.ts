import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PermanentError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { policiesFromFolder } from '../../../functions/engine/policies-folder.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policies-'));
});
afterEach(() => rm(folder, { recursive: true }));

const policy = (name: string) => `apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: ${name} }
spec: { match: "*", endpoint: projects/p/locations/l/endpoints/1 }
`;
const put = (file: string, text: string) => writeFile(join(folder, file), text);

test('a folder gives the policies of its YAML files, and nothing else in it counts', async () => {
  await put('b.yml', policy('b'));
  await put('a.yaml', policy('a'));
  await put('notes.txt', 'x');
  const { policies, problems } = await policiesFromFolder(folder).list();
  expect(policies.map(({ name }) => name)).toEqual(['a', 'b']);
  expect(problems).toEqual([]);
});

test('an edit counts the next time', async () => {
  const port = policiesFromFolder(folder);
  expect((await port.list()).policies).toEqual([]);
  await put('a.yaml', policy('a'));
  expect((await port.list()).policies).toHaveLength(1);
});

test('a bad file is named with its line, and hides no good one', async () => {
  await put('a.yaml', policy('a'));
  await put('bad.yaml', policy('bad').replace('match', 'mach'));
  await put('huge.yaml', 'x'.repeat(70_000));
  await mkdir(join(folder, 'folder.yaml'));
  const { policies, problems, documents } = await policiesFromFolder(folder).list();
  expect(policies.map(({ name }) => name)).toEqual(['a']);
  const read = [...(documents ?? [])].map(([file, one]) => [basename(file), one?.name ?? null]);
  expect(read).toEqual([
    ['a.yaml', 'a'],
    ['bad.yaml', null],
    ['folder.yaml', null],
    ['huge.yaml', null],
  ]);
  expect(problems.join('\n')).toContain(`${join(folder, 'bad.yaml')}:4:9 spec.mach: `);
  expect(problems.join('\n')).toContain('huge.yaml: expected at most 32768 bytes, got 70000');
  expect(problems.join('\n')).toContain('folder.yaml: expected a file');
});

test('of two policies with one name the first file counts, and the second is a problem', async () => {
  await put('a.yaml', policy('same'));
  await put('b.yaml', policy('same'));
  const { policies, problems } = await policiesFromFolder(folder).list();
  expect(policies).toHaveLength(1);
  expect(problems).toEqual([
    `${join(folder, 'b.yaml')} metadata.name: ${join(folder, 'a.yaml')} is named "same" already; rename one of them`,
  ]);
});

test('a file that cannot be read is a problem', async () => {
  await put('a.yaml', policy('a'));
  await symlink(join(folder, 'nowhere'), join(folder, 'b.yaml'));
  const { policies, problems } = await policiesFromFolder(folder).list();
  expect(policies).toHaveLength(1);
  expect(problems).toEqual([expect.stringContaining('b.yaml: expected a readable file, got: ENOENT')]);
});

test('of too many policies the last are not read, which is a problem', async () => {
  const names = Array.from({ length: limits.policiesMax + 1 }, (_, i) => `p${1000 + i}`);
  await Promise.all(names.map((name) => put(`${name}.yaml`, policy(name))));
  const { policies, problems } = await policiesFromFolder(folder).list();
  expect(policies.map(({ name }) => name)).toEqual(names.slice(0, -1));
  const said = `expected at most ${limits.policiesMax} policies, got ${names.length}; the last ones are not read`;
  expect(problems).toEqual([`${folder}: ${said}`]);
});

test('a folder that is not there is an error that no retry heals', async () => {
  await expect(policiesFromFolder(join(folder, 'none')).list()).rejects.toThrow(PermanentError);
});
