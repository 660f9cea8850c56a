import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { exampleView, NOW } from './example-view.ts';
import { type SystemDouble, startPerson, startSystem } from './system-double.ts';

const ID = 'us-central1~456~1';
const ONE = `/api/rollouts/${ID}`;
const ENDPOINT = 'projects/p/locations/us-central1/endpoints/456';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

let system: SystemDouble;
let person: Awaited<ReturnType<typeof startPerson>>;
/** The variables that name the system. */
let env: Record<string, string>;

beforeAll(async () => {
  system = await startSystem();
});
afterAll(() => system.close());
beforeEach(async () => {
  person = await startPerson();
  system.replies.clear();
  system.requests.length = 0;
  system.published.length = 0;
  env = {
    ROLLOUTS_API: system.api,
    GOOGLE_CLOUD_PROJECT: 'p',
    ROLLOUT_LOCATION: 'us-central1',
    PUBSUB_EMULATOR_HOST: system.pubsub,
  };
});
afterEach(() => person.close());

const answer = (path: string, ...bodies: unknown[]) =>
  system.replies.set(
    path,
    bodies.map((body) => ({ status: 200, body })),
  );
const put = (file: string, text: string) => writeFile(join(person.folder, file), text);
async function putLocal(text: string): Promise<void> {
  await mkdir(join(person.folder, '.rollouts'), { recursive: true });
  await writeFile(join(person.folder, '.rollouts', 'local.json'), text);
}
const local = () =>
  JSON.stringify({
    api: system.api,
    env: { GOOGLE_CLOUD_PROJECT: 'local', ROLLOUT_LOCATION: 'us-central1', PUBSUB_EMULATOR_HOST: system.pubsub },
  });
const promoted = exampleView({ state: 'promoted', isFinal: true, percent: 100, endedAt: NOW, next: null });
const rolledBack = exampleView({ state: 'rolledBack', isFinal: true, percent: 0, endedAt: NOW, next: null });

describe('reading', () => {
  test('a list is a table, or JSON of the same rollouts', async () => {
    answer('/api/rollouts', { rollouts: [exampleView()] });
    expect(await person.run(['list'], env)).toMatchObject({ code: 0, out: expect.stringContaining('analysing  25%') });
    const { out } = await person.run(['list', '--json'], env);
    expect(JSON.parse(out)).toEqual({ rollouts: [exampleView()] });
  });

  test.each([
    ['is promoted', promoted, 0],
    ['was rolled back', rolledBack, 3],
    ['is under way', exampleView(), 4],
    ['is paused', exampleView({ paused: { at: NOW, by: 'bob', reason: 'x' } }), 4],
  ])('get ends with a code that says whether the rollout %s', async (_, view, code) => {
    answer(ONE, view);
    const run = await person.run(['get', ID], env);
    expect(run).toMatchObject({ code, out: expect.stringContaining('delays@3 → us-central1/456') });
    const json = await person.run(['get', ID, '--json'], env);
    expect({ code: json.code, view: JSON.parse(json.out) }).toEqual({ code, view });
  });

  test('a journal tells what happened', async () => {
    const entry = { at: NOW, event: 'traffic.applied', by: null, from: 'a', to: 'b', text: 'It has 5%.', detail: {} };
    answer(`${ONE}/journal`, { entries: [entry] });
    expect((await person.run(['journal', ID], env)).out).toContain('a → b  traffic.applied\n  It has 5%.');
    expect(JSON.parse((await person.run(['journal', ID, '--json'], env)).out)).toEqual({ entries: [entry] });
  });

  test.each(['get', 'watch', 'journal', 'pause'])('%s says so when there is no such rollout', async (name) => {
    const run = await person.run([name, 'none'], env);
    expect(run).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining('got "none", which the dashboard does not know'),
    });
    expect(system.published).toEqual([]);
  });

  test('an error is JSON too, when JSON is asked for', async () => {
    const { err } = await person.run(['get', 'none', '--json'], env);
    expect(JSON.parse(err)).toEqual({ error: { message: expect.stringContaining('"none"') } });
  });

  test('an identity token goes along, and being refused says how to get one', async () => {
    system.replies.set('/api/rollouts', [{ status: 403, body: '<html>Forbidden</html>' }]);
    const { code, err } = await person.run(['list'], { ...env, ROLLOUTS_TOKEN: 'abc' });
    expect(system.requests[0]?.authorization).toBe('Bearer abc');
    expect(code).toBe(1);
    expect(err).toContain('gcloud auth print-identity-token');
  });

  test('what is no dashboard is told from one', async () => {
    answer('/api/rollouts', '<html>hello</html>');
    expect((await person.run(['list'], env)).err).toContain('is this the dashboard');
    answer('/api/rollouts', { rollouts: [{ id: 'x' }] });
    expect((await person.run(['list'], env)).err).toContain('rollouts.0.');
  });
});

describe('watching', () => {
  test('follows a rollout until it is decided, a line for each change where there is no terminal', async () => {
    answer(ONE, exampleView(), exampleView(), exampleView({ percent: 50, reason: 'Next.' }), promoted);
    const { code, out } = await person.run(['watch', ID], env);
    expect(code).toBe(0);
    expect(out.trimEnd().split('\n')).toEqual([
      '2026-11-20T12:00:00.000Z analysing · 25% · The evidence is healthy; the hold goes on.',
      '2026-11-20T12:00:04.000Z analysing · 50% · Next.',
      '2026-11-20T12:00:06.000Z promoted · 100% · The evidence is healthy; the hold goes on.',
    ]);
  });

  test('redraws in place on a terminal, without colour if none is wanted', async () => {
    answer(ONE, exampleView(), rolledBack);
    const { code, out } = await person.run(['watch', ID], { ...env, NO_COLOR: '1' }, { columns: 80 });
    expect(code).toBe(3);
    expect(out.split('\u001B[12A\u001B[0J')).toHaveLength(2);
    expect(out).not.toContain('\u001B[32m');
    const colored = await person.run(['watch', ID], env, { columns: 80 });
    expect(colored.out).toContain('\u001B[31m✗ rolled back');
  });

  test('prints an object a line in JSON', async () => {
    answer(ONE, exampleView(), promoted);
    const { out } = await person.run(['watch', ID, '--json'], env);
    expect(
      out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([exampleView(), promoted]);
  });

  test('waits out a dashboard that fails for a moment', async () => {
    const failure = { status: 503, body: { error: { message: 'restarting' } } };
    system.replies.set(ONE, [failure, failure, { status: 200, body: promoted }]);
    const { code, err } = await person.run(['watch', ID], env);
    expect(code).toBe(0);
    expect(err.match(/restarting/g)).toHaveLength(1);
  });

  test('gives up on one that stays away', async () => {
    system.replies.set(ONE, [{ status: 503, body: {} }]);
    expect(await person.run(['watch', ID], env)).toMatchObject({ code: 1 });
    expect(system.requests).toHaveLength(15);
  });

  test('ends undecided after the time given', async () => {
    answer(ONE, exampleView());
    const { code, err } = await person.run(['watch', ID, '--timeout', '1m', '--interval', '10s'], env);
    expect(code).toBe(4);
    expect(err).toContain('Not decided');
    expect(system.requests).toHaveLength(7);
  });
});

describe('steering', () => {
  test.each(['pause', 'resume', 'abort', 'approve'])(
    '%s is published as a command, and says what follows',
    async (name) => {
      answer(ONE, exampleView());
      const { code, out } = await person.run([name, ID, '--reason', 'mail'], env);
      expect(code).toBe(0);
      expect(out).toContain(`Sent ${name} for ${ID}.`);
      expect(out).toContain(`rollouts watch ${ID}`);
      expect(system.published).toEqual([
        {
          topic: 'projects/p/topics/rollout-commands',
          data: { command: name, rollout: ID, reason: 'mail', by: 'anna', commandId: expect.stringMatching(UUID) },
        },
      ]);
    },
  );

  test('promote takes the next step, and with --full all of it', async () => {
    answer(ONE, exampleView());
    await person.run(['promote', ID], env);
    await person.run(['promote', ID, '--full', '--by', 'bob'], env);
    expect(system.published.map(({ data }) => data)).toMatchObject([
      { command: 'promote', by: 'anna' },
      { command: 'promote-full', by: 'bob' },
    ]);
  });

  test('an endpoint is a target by its full name', async () => {
    expect((await person.run(['abort', ENDPOINT], env)).code).toBe(0);
    expect(system.published[0]?.data).toMatchObject({ command: 'abort', endpoint: ENDPOINT });
    expect((await person.run(['abort', 'projects/p/endpoint/1'], env)).code).toBe(2);
  });

  test('what makes no sense is not sent', async () => {
    answer(ONE, rolledBack);
    const abort = await person.run(['abort', ID], env);
    expect(abort).toMatchObject({ code: 1, err: expect.stringContaining(`rollouts retry ${ID}`) });
    answer(ONE, exampleView());
    const retry = await person.run(['retry', ID], env);
    expect(retry).toMatchObject({ code: 1, err: expect.stringContaining(`rollouts abort ${ID}`) });
    expect(system.published).toEqual([]);
  });

  test.each([
    ['silent', { ROLLOUTS_API: 'http://127.0.0.1:1' }],
    ['unnamed', { ROLLOUTS_API: '' }],
  ])('a dashboard that is %s does not stop an abort', async (_, changes) => {
    const { code } = await person.run(['abort', ID], { ...env, ...changes });
    expect(code).toBe(0);
    expect(system.published).toHaveLength(1);
  });

  test('nor does one that lets nobody in', async () => {
    system.replies.set(ONE, [{ status: 403, body: {} }]);
    const { code, err } = await person.run(['abort', ID], env);
    expect(code).toBe(0);
    expect(err).toContain('Sending without having looked');
    expect(system.published).toHaveLength(1);
  });

  test('what the controller would not understand is wrong usage, and not sent', async () => {
    const { code, err } = await person.run(['abort', ENDPOINT, '--reason', 'x'.repeat(1001)], env);
    expect(code).toBe(2);
    expect(err).toContain('got reason: ');
    expect(system.published).toEqual([]);
  });

  test('bless takes the short form of a version, and completes it', async () => {
    const { code, out } = await person.run(['bless', 'delays@3', '--endpoint', '456', '--policy', 'delays'], env);
    expect(code).toBe(0);
    expect(out).toContain('rollouts list');
    expect(system.published).toEqual([
      {
        topic: 'projects/p/topics/model-blessings',
        data: {
          eventId: expect.stringMatching(UUID),
          model: 'projects/p/locations/us-central1/models/delays',
          versionId: '3',
          endpoint: ENDPOINT,
          policy: 'delays',
          by: 'anna',
          blessedAt: '2026-11-20T12:00:00.000Z',
        },
      },
    ]);
  });

  test('bless takes a full name as it is, and answers in JSON', async () => {
    const model = 'projects/other/locations/europe-west1/models/m';
    const { out } = await person.run(['bless', `${model}@12`, '--json'], { ...env, ROLLOUT_LOCATION: '' });
    expect(system.published[0]?.data).toMatchObject({ model, versionId: '12' });
    expect(JSON.parse(out)).toEqual({ topic: 'model-blessings', message: system.published[0]?.data });
  });

  test.each([
    ['without a version', ['bless', 'delays'], {}],
    ['with an alias for a version', ['bless', 'delays@blessed'], {}],
    ['with a bad model', ['bless', 'projects/p/models/m@3'], {}],
    ['with a bad endpoint', ['bless', 'delays@3', '--endpoint', 'a/b'], {}],
    ['without a location for a short name', ['bless', 'delays@3'], { ROLLOUT_LOCATION: '' }],
  ])('a blessing %s is wrong usage', async (_, args, changes) => {
    const { code, err } = await person.run(args, { ...env, ...changes });
    expect(code).toBe(2);
    expect(err).toMatch(/^Expected /);
    expect(system.published).toEqual([]);
  });

  test('a topic that is not there is an error, and nothing counts as sent', async () => {
    const { code, out, err } = await person.run(['abort', ENDPOINT], { ...env, GOOGLE_CLOUD_PROJECT: 'nowhere' });
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(/^Expected to publish to rollout-commands in nowhere on .*notFound.*Nothing was sent/);
  });
});

describe('the system meant', () => {
  test('is the local run of the folder when nothing else is said, and stderr says so', async () => {
    await putLocal(local());
    answer('/api/rollouts', { rollouts: [] });
    const list = await person.run(['list'], { GOOGLE_CLOUD_PROJECT: '' });
    expect(list).toMatchObject({ code: 0, err: expect.stringContaining('local.json') });
    await person.run(['bless', 'delays@3']);
    expect(system.published[0]).toMatchObject({ topic: 'projects/local/topics/model-blessings' });
  });

  test('is never a mixture of the local run and what the environment names', async () => {
    await putLocal(local());
    const { code, err } = await person.run(['list'], { GOOGLE_CLOUD_PROJECT: 'production' });
    expect(code).toBe(1);
    expect(err).toContain('not used because of GOOGLE_CLOUD_PROJECT');
    const bless = await person.run(['bless', 'delays@3', '--api', system.api]);
    expect(bless.code).not.toBe(0);
    expect(system.published).toEqual([]);
  });

  test('is asked for when there is none', async () => {
    expect(await person.run(['list'])).toMatchObject({ code: 1, err: expect.stringContaining('npm start') });
    expect(await person.run(['abort', ENDPOINT])).toMatchObject({
      code: 1,
      err: expect.stringContaining('GOOGLE_CLOUD_PROJECT'),
    });
  });

  test('may be a local run that ended, and then the message says so', async () => {
    await putLocal(local().replace(system.api, 'http://127.0.0.1:1'));
    expect((await person.run(['list'])).err).toContain('may be left from a run that ended');
    await putLocal('{');
    expect((await person.run(['list'])).err).toContain('run npm start again');
  });

  test('has an address that is one', async () => {
    expect(await person.run(['list', '--api', 'localhost:8080'], env)).toMatchObject({ code: 2 });
  });
});

describe('policy', () => {
  const policy = `apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: "*"
  endpoint: ${ENDPOINT}
`;

  test('lint is quiet about a good file, and names every problem of a bad one', async () => {
    await put('good.yaml', policy);
    await put('bad.yaml', `${policy}  keepStabel: 1h\n  steps: [ { percent: 5 } ]\n`);
    expect(await person.run(['policy', 'lint', 'good.yaml'])).toEqual({
      code: 0,
      out: 'good.yaml: ok, policy delays\n',
      err: '',
    });
    const { code, out } = await person.run(['policy', 'lint', 'good.yaml', 'bad.yaml']);
    expect(code).toBe(2);
    expect(out).toMatch(/^bad\.yaml:7:3 spec\.keepStabel: .*; write: keepStable$/m);
    expect(out).toMatch(/^bad\.yaml:8:23 spec\.steps\[0\]\.percent: /m);
  });

  test('lint in JSON has a result for each file', async () => {
    await put('good.yaml', policy);
    await put('bad.yaml', 'x');
    const { out } = await person.run(['policy', 'lint', '--json', 'good.yaml', 'bad.yaml']);
    expect(JSON.parse(out)).toMatchObject([
      { file: 'good.yaml', ok: true, name: 'delays', problems: [] },
      { file: 'bad.yaml', ok: false, problems: [{ line: 1, column: 1 }] },
    ]);
  });

  test('lint warns of what is allowed and probably not meant', async () => {
    await put('odd.yaml', `${policy}  keepStable: 0s\n`);
    const { code, out } = await person.run(['policy', 'lint', 'odd.yaml']);
    expect(code).toBe(0);
    expect(out).toContain('odd.yaml:7:15 spec.keepStable: warning: ');
  });

  test('explain says what a policy does, and refuses a bad one', async () => {
    await put('good.yaml', policy);
    await put('bad.yaml', 'x');
    expect(await person.run(['policy', 'explain', 'good.yaml'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('A healthy rollout takes at least 1h once the canary is deployed'),
    });
    expect(await person.run(['policy', 'explain', 'bad.yaml'])).toMatchObject({ code: 2, out: '' });
    expect(await person.run(['policy', 'explain', 'none.yaml'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('ENOENT'),
    });
  });
});

describe('the command line', () => {
  test('explains itself, exit codes included', async () => {
    const { code, out } = await person.run(['--help']);
    expect(code).toBe(0);
    for (const name of [
      'list',
      'get',
      'watch',
      'journal',
      'bless',
      'pause',
      'resume',
      'abort',
      'promote',
      'approve',
      'retry',
      'policy',
    ]) {
      expect(out).toMatch(new RegExp(`^  ${name} `, 'm'));
    }
    expect(out).toContain('Exit codes:');
  });

  test.each([[['wach', 'x']], [['pause']], [['list', '--colour']], [[]], [['watch', 'x', '--interval', 'soon']]])(
    'wrong usage %j ends with 2',
    async (args) => {
      const { code, err } = await person.run(args, env);
      expect(code).toBe(2);
      expect(err).not.toBe('');
    },
  );

  test('is a program: it lints a file in its folder and exits with the code', async () => {
    await writeFile(join(person.folder, 'bad.yaml'), 'x');
    const program = join(import.meta.dirname, '../../cli/rollouts.ts');
    const run = promisify(execFile)(process.execPath, [program, 'policy', 'lint', 'bad.yaml'], { cwd: person.folder });
    await expect(run).rejects.toMatchObject({ code: 2, stdout: expect.stringContaining('bad.yaml:1:1 ') });
  });
});
