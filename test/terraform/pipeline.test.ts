/** Does a commit come to run, and only when it should? Laws of both builds, faults planted against each, and the builds run. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { appliedOf, registered, withTerraform } from './installation.ts';
import { blocks, ofType } from './laws.ts';
import { type LocalBuild, localBuild } from './local-build.ts';
import { before, parsePipeline, pipelineLaws } from './pipeline.ts';

const planText = readFileSync('cloudbuild.yaml', 'utf8');
const applyText = readFileSync('terraform/apply.yaml', 'utf8');
const plan = parsePipeline(planText);
const apply = parsePipeline(applyText);
const given = ['_NODE', '_TERRAFORM', '_GCLOUD', '_COMPOSITION', '_RELEASES'];
const givenToApply = [...given, '_LOCATION', '_RELEASE', '_SHA256'];

describe('the builds', () => {
  test.each(Object.entries(pipelineLaws))('%s', (_, law) => {
    expect(law(plan, given)).toEqual([]);
    expect(law(apply, givenToApply)).toEqual([]);
  });

  test('go from what is cheap to what people see, and then from a release to its end', () => {
    const ids = ['terraform', 'verify', 'bundle', 'sbom', 'vulnerabilities', 'plan', 'release'];
    expect(plan.steps.map(({ id }) => id)).toEqual(ids);
    expect(apply.steps.map(({ id }) => id)).toEqual(['fetch', 'apply', 'smoke', 'roll-back', 'conclude']);
  });

  test('make a release of nothing that was not verified, listed, checked and planned', () => {
    expect(before(plan.steps, 'release')).toEqual(
      new Set(['terraform', 'verify', 'bundle', 'sbom', 'vulnerabilities', 'plan']),
    );
    for (const id of ['bundle', 'sbom', 'vulnerabilities', 'plan']) expect(before(plan.steps, id)).toContain('verify');
  });

  test('verify as a laptop does: by the one script, with Terraform on the path', () => {
    const verify = plan.steps.find(({ id }) => id === 'verify');
    expect(verify).toMatchObject({ entrypoint: 'bash', args: ['.ci/run'] });
    const tools = plan.steps.find(({ id }) => id === 'terraform');
    expect(tools?.volumes).toEqual(verify?.volumes);
    expect(verify?.env.join()).toContain(`PATH=${verify?.volumes[0]?.path}:`);
  });

  test('go on after a failure only where going back mends it', () => {
    expect([...plan.steps, ...apply.steps].filter((step) => step.allow_failure).map(({ id }) => id)).toEqual([
      'apply',
      'smoke',
    ]);
  });

  test.each([
    [
      'a step before what it waits for',
      planText,
      'waitFor: [bundle, sbom',
      'waitFor: [deploy, sbom',
      'waits for deploy',
    ],
    ['an image by its tag', planText, 'name: ${_NODE}', 'name: node:24', 'verify runs in node:24, without a digest'],
    ['a variable that nobody gives', applyText, '$_LOCATION', '$_REGION', 'smoke uses _REGION, which nobody gives'],
    ['a script that goes on', applyText, 'set -eu\n', 'set -u\n', 'goes on after a failure'],
    ['a script that does not parse', applyText, 'fetch() {', 'fetch() {{', 'is no script of bash'],
    [
      'a variable that a step is not given',
      applyText,
      'env: [COMPOSITION=$_COMPOSITION, ',
      'env: [',
      'reads COMPOSITION',
    ],
    ['an npm script that is gone', planText, 'args: [run, sbom]', 'args: [run, bom]', 'runs npm run bom, which'],
    ['a file that is gone', applyText, 'cli/smoke.ts', 'cli/smokes.ts', 'runs cli/smokes.ts, which is not there'],
    ['a secret', applyText, 'env: [GOOGLE', 'env: [API_KEY=abc123, GOOGLE', 'it has KEY='],
  ])('that have %s are found', (_, text, from, to, sentence) => {
    const changed = text.replace(from, to);
    expect(changed).not.toBe(text);
    const found = Object.values(pipelineLaws).flatMap((law) => law(parsePipeline(changed), givenToApply));
    expect(found.join('\n')).toContain(sentence);
  });
});

/** As the message to Cloud Build names it. */
interface Release {
  release: string;
  sha256: string;
}

withTerraform('the triggers', ({ installed, environment }) => {
  test('give each build what it uses, every image by its digest', async () => {
    const triggers = ofType(await installed('hardened'), 'google_cloudbuild_trigger');
    for (const { name, values } of triggers) {
      const substitutions = values['substitutions'] ?? {};
      expect([name, Object.keys(substitutions).toSorted()]).toEqual([
        name,
        (name === 'plan' ? given : givenToApply).toSorted(),
      ]);
      for (const image of ['_NODE', '_TERRAFORM', '_GCLOUD'])
        expect(new Map(Object.entries(substitutions)).get(image)).toMatch(/@sha256:[0-9a-f]{64}$/);
    }
  });

  test('apply nothing that a person has not approved, by the steps of apply.yaml', async () => {
    const triggers = ofType(await installed('hardened'), 'google_cloudbuild_trigger');
    const trigger = triggers.find(({ name }) => name === 'apply');
    expect(blocks(trigger?.values ?? {}, 'approval_config')).toEqual([{ approval_required: true }]);
    const [build = {}] = blocks(trigger?.values ?? {}, 'build');
    expect(blocks(build, 'step').map(({ id, name, script, env }) => ({ id, name, script, env }))).toEqual(
      apply.steps.map(({ id, name, script, env }) => ({ id, name, script, env })),
    );
    expect(blocks(build, 'step').map((step) => step['allow_failure'] === true)).toEqual(
      apply.steps.map((step) => step.allow_failure),
    );
  });

  test('run as two accounts, of which the one that plans can do no more than add a release and tell of it', async () => {
    const applied = await installed('hardened');
    const triggers = ofType(applied, 'google_cloudbuild_trigger').map(({ values }) => values['service_account']);
    expect(triggers.map(String).toSorted()).toEqual(
      ['apply', 'plan'].map(
        (name) => `projects/my-project/serviceAccounts/rollouts-${name}@my-project.iam.gserviceaccount.com`,
      ),
    );
    const planner = 'serviceAccount:rollouts-plan@my-project.iam.gserviceaccount.com';
    const grants = applied.resources.filter(({ values }) => values['member'] === planner && 'role' in values);
    expect(grants.map(({ values }) => String(values['role'])).toSorted()).toEqual([
      'roles/logging.logWriter',
      'roles/pubsub.publisher',
      'roles/secretmanager.secretAccessor',
      'roles/storage.objectCreator',
      'roles/storage.objectViewer',
    ]);
    const reader = grants.find(({ values }) => values['role'] === 'roles/secretmanager.secretAccessor');
    expect(blocks(reader?.values ?? {}, 'condition')[0]?.['expression']).toBe('resource.name.endsWith("/versions/1")');
  });

  test('are not there where nobody asks for them', async () => {
    expect(ofType(await installed('minimal'), 'google_cloudbuild_trigger')).toEqual([]);
  });

  describe('and what they run', () => {
    let folder: string;
    let build: LocalBuild;
    let builds = 0;

    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'rollouts-pipeline-'));
      build = localBuild(join(folder, 'cloud'), environment());
      checkOut();
    });
    afterEach(() => rmSync(folder, { recursive: true }));

    const cloud = (...path: string[]) => join(folder, 'cloud', ...path);
    const composition = 'terraform/examples/minimal';

    /** A checkout as a person leaves it, whose state is where both builds find it. */
    function checkOut(): void {
      const at = join(folder, 'source');
      cpSync('terraform', join(at, 'terraform'), { recursive: true, filter: (path) => !path.includes('.terraform') });
      writeFileSync(
        join(at, composition, 'backend.tf'),
        `terraform {\n  backend "local" {\n    path = "${cloud('state')}"\n  }\n}\n`,
      );
      const variables = { project_id: 'my-project', location: 'us-central1' };
      writeFileSync(join(at, composition, 'terraform.tfvars.json'), JSON.stringify(variables));
    }

    /** Plans a commit in which onTick is `code`; returns what the message says. */
    async function planned(code: string): Promise<Release> {
      const bundles = join(folder, 'source/dist/bundles');
      mkdirSync(bundles, { recursive: true });
      for (const { name } of registered) writeFileSync(join(bundles, `${name}.zip`), name === 'onTick' ? code : name);
      writeFileSync(join(bundles, 'version'), '1.2.3\n');
      writeFileSync(join(folder, 'source/dist/sbom.cdx.json'), '{}');
      builds += 1;
      const substitutions = {
        BUILD_ID: `build-${builds}`,
        COMMIT_SHA: code,
        _COMPOSITION: composition,
        _RELEASES: 'releases',
      };
      const options = { folder: join(folder, 'source'), substitutions, only: ['plan', 'release'] };
      const { ended, text } = await build.run(plan, options);
      expect([ended, text]).toEqual([{ plan: 0, release: 0 }, expect.any(String)]);
      const message = readFileSync(cloud('messages'), 'utf8').trim().split('\n').at(-1) ?? '';
      const [, release = '', sha256 = ''] = /release=([\w-]+),sha256=(\w+)$/.exec(message) ?? [];
      expect(message).toContain(`rollouts-releases --message=${code}`);
      expect(release).toBe(`build-${builds}`);
      return { release, sha256 };
    }

    async function approved({ release, sha256 }: Release) {
      builds += 1;
      const substitutions = {
        _RELEASE: release,
        _SHA256: sha256,
        _COMPOSITION: composition,
        _RELEASES: 'releases',
        _LOCATION: 'us-central1',
        PROJECT_ID: 'p',
      };
      return build.run(apply, { folder: join(folder, `workspace-${builds}`), substitutions });
    }

    /** The code of onTick that is deployed, by what its archive is named for. */
    const running = () =>
      ofType(appliedOf(readFileSync(cloud('state'), 'utf8')), 'google_storage_bucket_object').find(
        ({ key }) => key === 'onTick',
      )?.values['name'];
    const current = () => readFileSync(cloud('releases/current'), 'utf8').split(' ')[0];

    test('deploy a release, and go back to it when the next one is not well', { timeout: 240_000 }, async () => {
      const first = await planned('first');
      expect(existsSync(cloud('state')), 'a plan makes nothing').toBe(false);
      const done = await approved(first);
      expect([done.ended, done.text]).toEqual([
        { fetch: 0, apply: 0, smoke: 0, 'roll-back': 0, conclude: 0 },
        expect.any(String),
      ]);
      expect(current()).toBe(first.release);
      const good = running();

      const second = await planned('second');
      writeFileSync(cloud('unwell'), '');
      const undone = await approved(second);
      expect(undone.ended).toEqual({ fetch: 0, apply: 0, smoke: 1, 'roll-back': 0, conclude: 1 });
      expect(undone.text).toContain('Apply complete!');
      expect(undone.text).toContain(`Release ${second.release} does not run`);
      expect(running()).toBe(good);
      expect(current()).toBe(first.release);
    });

    test('refuse a plan of a state that is not there any more, and take nothing back', {
      timeout: 240_000,
    }, async () => {
      await approved(await planned('first'));
      const late = await planned('late');
      await approved(await planned('newer'));
      const newer = running();
      const refused = await approved(late);
      expect(refused.ended).toEqual({ fetch: 0, apply: 1, smoke: 1, 'roll-back': 0, conclude: 1 });
      expect(refused.text).toContain('Saved plan is stale');
      expect(running()).toBe(newer);
    });

    test('deploy no archive but the one that the message names', { timeout: 120_000 }, async () => {
      const made = await planned('first');
      writeFileSync(cloud('releases', made.release, 'release.tgz'), 'something else');
      const { ended } = await approved(made);
      expect(ended).toEqual({ fetch: 1 });
      expect(existsSync(cloud('state'))).toBe(false);
    });

    test('deploy nothing while they cannot see what to go back to', { timeout: 120_000 }, async () => {
      const made = await planned('first');
      writeFileSync(cloud('closed'), '');
      expect((await approved(made)).ended).toEqual({ fetch: 1 });
    });

    test('say so when the first release of all is not well', { timeout: 120_000 }, async () => {
      const release = await planned('first');
      writeFileSync(cloud('unwell'), '');
      const { ended, text } = await approved(release);
      expect(ended).toMatchObject({ 'roll-back': 0, conclude: 1 });
      expect(text).toContain('There is no release before this one to go back to');
    });
  });
});
