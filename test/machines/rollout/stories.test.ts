/**
 * What becomes of an endpoint's record, and what is said of it? Whole lives through `decide`, with a world that does what
 * it is ordered: each step's place, orders, journal, notifications, and all that the context remembers anew.
 */
import { expect, it } from 'vitest';
import type { VariantCounts } from '../../../machines/analysis/evidence.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import type { Context } from '../../../machines/rollout/context.ts';
import { blessingRefusal, decide, type RecordEvent } from '../../../machines/rollout/decide.ts';
import { placeOf, viewOf } from '../../../machines/rollout/describe.ts';
import { answerSplit, effectsOf, looksOf } from '../../../machines/rollout/effects.ts';
import type { ObservedModel } from '../../../machines/rollout/events.ts';
import { emptyRecord, isActiveRecord } from '../../../machines/rollout/record.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { assertSplit, type Split } from '../../../machines/rollout/split.ts';
import { bad, endpoint, good, model, policyOf, stableModel } from './life.ts';

type Undated = RecordEvent extends infer Event ? (Event extends { at: number } ? Omit<Event, 'at'> : never) : never;

const startAt = 1_000_000;
const ann = { by: 'ann', reason: 'a look' };

class Story {
  readonly lines: string[] = [];
  record = emptyRecord(endpoint);
  at = startAt;
  split: Split = { 1: 100 };
  models: ObservedModel[] = [stableModel];
  readonly #policy: Policy;
  #operations = 0;
  #owing = '';
  /** A deployment brings so many replicas. */
  ready = 1;

  constructor(policy: Policy = policyOf()) {
    this.#policy = policy;
  }

  get active(): StoredRollout {
    if (this.record.active === null) throw new Error('no rollout is active');
    return this.record.active;
  }

  get canaryId(): string {
    return this.active.context.canaryId;
  }

  say(event: Undated): this {
    const before = this.record;
    const { record, journal, archive } = decide(before, { ...event, at: this.at });
    this.record = record;
    const second = (this.at - startAt) / 1000;
    this.#write(`${second}s ${event.type}${record === before ? ': nothing to commit' : ''}`);
    for (const { rollout, sequence, data } of journal) {
      const { by, from, to, text, split, effects } = data;
      this.#write(`  ${sequence} ${rollout} ${from} → ${to}${by === null ? '' : ` by ${by}`}: ${text}`);
      const owing = `    split ${JSON.stringify(split)} owes ${effects.join(', ') || 'nothing'}`;
      if (owing !== this.#owing) this.#write(owing);
      this.#owing = owing;
    }
    for (const { id, what, state, percent, reason, by, verdict, versionId } of record.outbox.filter(
      (one) => !before.outbox.some((other) => other.id === one.id),
    )) {
      this.#write(
        `  ! ${id} ${what}: version ${versionId} ${state} ${percent} % by ${by}, ${verdict?.kind ?? 'no verdict'}: ${reason}`,
      );
    }
    for (const { context } of archive) this.#write(`  archived ${context.id}, ended ${context.endedAt}`);
    if (before.active?.context.id === record.active?.context.id) {
      for (const line of changesOf(before.active?.context, record.active?.context)) this.#write(`    ${line}`);
    }
    return this;
  }

  bless(versionId: string, more: { by?: string; policy?: Policy; isRetry?: boolean; agoSeconds?: number } = {}): this {
    const blessedAt = this.at - (more.agoSeconds ?? 0) * 1000;
    const blessing = { eventId: `e${versionId}`, model, versionId, blessedAt, by: more.by ?? null };
    const isRetry = more.isRetry ?? false;
    this.#write(`refused: ${blessingRefusal(this.record, blessing, isRetry)}`);
    return this.say({ type: 'blessing.received', blessing, policy: more.policy ?? this.#policy, isRetry });
  }

  /** At its first step, which the first story tells in full. */
  begun(by?: string): this {
    return this.#unsaid(() => this.bless('2', by === undefined ? {} : { by }).obey());
  }

  /** Steps that are healthy, as the first story tells them. */
  risen(steps: number): this {
    return this.#unsaid(() => this.healthy(steps));
  }

  #unsaid(act: () => void): this {
    const { length } = this.lines;
    act();
    this.lines.splice(length, Number.POSITIVE_INFINITY, `… ${placeOf(this.active)} at ${(this.at - startAt) / 1000}s`);
    return this;
  }

  tick(seconds: number): this {
    this.at += seconds * 1000;
    return this.say({ type: 'clock.ticked' });
  }

  /** The world does what is owed, answers what is looked at, and ends each operation at once. */
  obey(rounds = 10): this {
    for (let round = 0; round < rounds && this.record.active !== null; round += 1) {
      const rollout = this.active;
      const event = this.#effect(rollout) ?? this.#look(rollout);
      if (event === null) break;
      const before = this.record;
      this.say(event);
      if (this.record === before) break;
    }
    return this;
  }

  #effect(rollout: StoredRollout): Undated | null {
    const [effect] = effectsOf(rollout, this.at);
    switch (effect?.type) {
      case 'model.deploy':
        this.models = [
          ...this.models,
          {
            ...stableModel,
            id: effect.deployedModelId,
            versionId: rollout.context.versionId,
            availableReplicas: this.ready,
          },
        ];
        return { type: 'deploy.started', operation: this.#operation() };
      case 'traffic.apply': {
        const answer = answerSplit(rollout, {
          split: this.split,
          models: this.models.map(({ id }) => ({ id, canServe: true })),
        });
        if (answer.kind !== 'write') throw new Error(JSON.stringify(answer));
        this.split = assertSplit(answer.split);
        return { type: 'traffic.applied', split: answer.split, generation: effect.generation };
      }
      case 'model.remove':
        this.models = this.models.filter(({ id }) => id !== effect.deployedModelId);
        return { type: 'removal.started', deployedModelId: effect.deployedModelId, operation: this.#operation() };
      case 'replicas.resize':
        return { type: 'resize.started', deployedModelId: effect.deployedModelId, operation: this.#operation() };
      case 'operation.cancel':
        return { type: 'operation.cancelled', operation: effect.operation };
      case undefined:
        return null;
    }
  }

  #look(rollout: StoredRollout): Undated | null {
    const [look] = looksOf(rollout, this.at, 1000).filter(({ type }) => type !== 'model.read');
    if (look?.type === 'operation.poll') return { type: 'operation.finished', operation: look.operation, error: null };
    return look?.type === 'endpoint.read'
      ? { type: 'endpoint.observed', split: this.split, models: this.models }
      : null;
  }

  /** What Monitoring shows up to now, in eight windows; stable is always good. */
  seen(canary: VariantCounts, source = 'monitoring'): this {
    const { tally, traffic, policy } = this.active.context;
    const fromAt = tally.covered[source]?.toAt ?? tally.effectAt ?? this.at;
    const toAt = source === 'monitoring' ? this.at - policy.analysis.metricLagSeconds * 1000 : this.at;
    const share = (traffic.confirmed?.[this.canaryId] ?? 5) / 100;
    const part = (whole: VariantCounts, factor: number): VariantCounts => ({
      requests: Math.round(whole.requests * factor),
      errors: Math.round(whole.errors * factor),
      latencyMs: { ...whole.latencyMs, counts: whole.latencyMs.counts.map((count) => Math.round(count * factor)) },
    });
    for (let i = 0; i < 8; i += 1) {
      const window = { fromAt: fromAt + ((toAt - fromAt) * i) / 8, toAt: fromAt + ((toAt - fromAt) * (i + 1)) / 8 };
      const variants = {
        [this.canaryId]: part(canary, 1 / 8),
        1: part(good, ((1 - share) / share) * (canary.requests / good.requests) * (1 / 8)),
      };
      const place = placeOf(this.active);
      const { length } = this.lines;
      this.say({ type: 'evidence.observed', evidence: { source, window, variants } });
      if (this.record.active === null || placeOf(this.active) !== place) break;
      // What each window says is told by the tests of verdicts.
      if (i < 7) this.lines.length = length;
    }
    return this;
  }

  /** Through steps that are healthy, as many as asked. */
  healthy(steps: number): this {
    for (let i = 0; i < steps; i += 1) this.tick(12).seen(good).tick(1).obey();
    return this;
  }

  view(): this {
    const { policy: _policy, verdicts, ...view } = viewOf(this.active);
    this.#write(`view ${JSON.stringify({ ...view, verdicts: verdicts.map(({ kind }) => kind) })}`);
    return this;
  }

  /** What is looked at now. */
  looks(): this {
    this.#write(`looks ${JSON.stringify(looksOf(this.active, this.at, 1000))}`);
    return this;
  }

  delivered(): this {
    return this.say({ type: 'notifications.sent', ids: this.record.outbox.map(({ id }) => id) });
  }

  end(): string[] {
    const { active, queued, history, sequence, newestBlessedAt } = this.record;
    this.#write(
      `in the end: ${active === null ? 'nothing active' : placeOf(active)}, ${queued === null ? 'nothing waits' : `${queued.blessing.versionId} waits`}, sequence ${sequence}, newest ${newestBlessedAt}, ${isActiveRecord(this.record) ? 'to be looked at' : 'at rest'}`,
    );
    this.#write(`split ${JSON.stringify(this.split)}, deployed ${this.models.map(({ id }) => id).join()}`);
    for (const one of history) this.#write(`history ${JSON.stringify(one)}`);
    return this.lines;
  }

  #operation(): string {
    this.#operations += 1;
    return `op${this.#operations}`;
  }

  /** Without what is long, the same everywhere, or told by other tests. */
  #write(line: string): void {
    const text = line.replaceAll(model, 'MODEL').replaceAll(endpoint, 'ENDPOINT');
    this.lines.push(
      text
        .replaceAll(/"verdict":\{"kind":"(\w+)".*?\}\]\}/g, '"verdict":"$1"')
        .replace(/(Canary \d|The canary was meant).*?(?=$|")/, '$1…'),
    );
  }
}

/** All that is remembered otherwise than before, but the counts, which the verdicts tell. */
function changesOf(before: Context | undefined, after: Context | undefined): string[] {
  if (before === undefined || after === undefined) return [];
  const old: Record<string, unknown> = shortened(before);
  return Object.entries(shortened(after))
    .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(old[name]))
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
}

function shortened({ policy: _policy, tally, verdicts, ...rest }: Context) {
  return { ...rest, judgedSince: tally.effectAt, verdicts: [verdicts.monitoring?.kind, verdicts.proxy?.kind] };
}

const reserved = { ...stableModel, availableReplicas: 4 };
const refusal = { code: 'RESOURCE_EXHAUSTED', message: 'no room' };

const stories: Record<string, () => Story> = {
  'a healthy rollout, to the end': () =>
    new Story()
      .bless('2', { by: 'ann' })
      .looks()
      .obey()
      .looks()
      .view()
      .delivered()
      .healthy(1)
      .view()
      .healthy(2)
      .view()
      .healthy(1)
      .view()
      .delivered()
      .tick(20)
      .view()
      .obey()
      .delivered(),
  'an empty endpoint': () => {
    const story = new Story();
    story.split = {};
    story.models = [];
    return story.bless('2').obey().delivered();
  },
  'a version that serves already': () => {
    const story = new Story();
    story.models = [{ ...stableModel, versionId: '2' }];
    return story.bless('2').obey();
  },
  'replicas are held, and given back before the canary goes': () => {
    const story = new Story(policyOf('  keepFailedCanary: 1m\n'));
    story.models = [reserved];
    return story.bless('2').obey().tick(12).seen(bad).obey().view().tick(59).obey().tick(1).obey();
  },
  'a canary that is slow to be ready': () => {
    const story = new Story(policyOf('  deploy: { minReplicas: 2, maxReplicas: 3, deadline: 1m }\n'));
    return story.bless('2').obey(3).view().tick(30).tick(29).tick(1).obey();
  },
  'no room for the canary, then room': () =>
    new Story()
      .bless('2')
      .obey(1)
      .say({ type: 'deploy.refused', ...refusal, isRetryable: true })
      .view()
      .tick(0.5)
      .say({ type: 'deploy.refused', ...refusal, isRetryable: true })
      .tick(2)
      .obey(1)
      .say({ type: 'operation.finished', operation: 'op1', error: { code: 'RESOURCE_EXHAUSTED', message: 'no room' } })
      .say({ type: 'operation.finished', operation: 'op0', error: null })
      .tick(60)
      .obey(1)
      .say({
        type: 'operation.finished',
        operation: 'op2',
        error: { code: 'INVALID_ARGUMENT', message: 'no such machine' },
      })
      .obey(),
  'a deployment that is refused': () =>
    new Story()
      .bless('2')
      .obey(1)
      .say({ type: 'deploy.refused', code: 'permissionDenied', message: 'not yours', isRetryable: false })
      .obey(),
  'a deployment that is found, and a removal too': () =>
    new Story()
      .bless('2')
      .obey(1)
      .say({ type: 'deploy.found' })
      .say({ type: 'operator.aborted', ...ann })
      .say({ type: 'removal.found', deployedModelId: '5870440451' })
      .tick(1)
      .obey(),
  'no such model': () =>
    new Story().bless('2').say({ type: 'target.missing', message: 'Version 2 does not exist.' }).obey(),
  'nothing answers for an hour': () => new Story().bless('2').tick(3599).tick(1).obey(),
  'a bad canary, and its blessings afterwards': () => {
    const story = new Story().begun('ann').tick(6).seen(bad).view().obey();
    return story
      .tick(1)
      .bless('2', { agoSeconds: 30 })
      .bless('3', { agoSeconds: 60 })
      .bless('2', { agoSeconds: 30, isRetry: true });
  },
  'a bad canary, by what a proxy saw': () => new Story().begun().tick(6).seen(bad, 'proxy a').view().obey(),
  'approval is asked for and given': () =>
    new Story(policyOf('  steps: [ { percent: 5, hold: 10s, approval: true }, { percent: 100, hold: 10s } ]\n'))
      .begun()
      .risen(1)
      .view()
      .say({ type: 'operator.approved', ...ann })
      .obey(),
  'a freeze holds a proven step': () =>
    new Story(
      policyOf(
        '  freeze: [ "Thu 00:17 – 00:18 UTC" ]\n  steps: [ { percent: 5, hold: 10s }, { percent: 100, hold: 10s } ]\n',
      ),
    )
      .begun()
      .tick(20)
      .seen(good)
      .tick(1)
      .view()
      .tick(60)
      .seen(good),
  'a person pauses, and resumes': () =>
    new Story()
      .begun()
      .tick(2)
      .say({ type: 'operator.paused', ...ann })
      .view()
      .say({ type: 'operator.paused', ...ann })
      .tick(10)
      .seen(good)
      .tick(1)
      .say({ type: 'operator.resumed', by: 'bob', reason: 'enough' })
      .obey()
      .view(),
  'a pause while the share is raised': () =>
    new Story()
      .begun()
      .tick(12)
      .seen(good)
      .tick(1)
      .say({ type: 'operator.paused', ...ann })
      .obey(),
  'a person promotes': () =>
    new Story()
      .bless('2')
      .obey(2)
      .say({ type: 'operator.promoted', ...ann })
      .obey()
      .say({ type: 'operator.promoted', ...ann })
      .obey()
      .say({ type: 'operator.promoted', ...ann })
      .obey()
      .say({ type: 'operator.promoted', ...ann })
      .view(),
  'a person promotes to 100 %': () =>
    new Story()
      .begun()
      .say({ type: 'operator.promotedFully', ...ann })
      .view()
      .obey(),
  'a person aborts': () =>
    new Story()
      .begun('bob')
      .say({ type: 'operator.aborted', ...ann })
      .view()
      .obey()
      .say({ type: 'operator.aborted', ...ann }),
  'a person aborts too late': () =>
    new Story()
      .begun()
      .risen(4)
      .tick(20)
      .say({ type: 'operator.aborted', ...ann })
      .obey(),
  'an alert pauses': () =>
    new Story().begun().say({ type: 'incident.opened', incident: 'i1', summary: 'errors' }).view(),
  'an alert rolls back': () =>
    new Story(policyOf('  analysis: { metricLag: 2s, incident: rollBack }\n'))
      .begun()
      .say({ type: 'incident.opened', incident: 'i1', summary: 'errors' })
      .obey(),
  'an alert is ignored, and told': () =>
    new Story(policyOf('  analysis: { metricLag: 2s, incident: ignore }\n'))
      .begun()
      .say({ type: 'incident.opened', incident: 'i1', summary: 'errors' }),
  'a newer version replaces': () =>
    new Story().begun().tick(1).bless('2').bless('3', { by: 'ann' }).bless('3').obey(30).view(),
  'a newer version waits, and a newer one takes its place': () =>
    new Story(policyOf('  onNewBlessing: queue\n'))
      .begun()
      .tick(1)
      .bless('3')
      .tick(1)
      .bless('4')
      .bless('3', { agoSeconds: 9 })
      .tick(1)
      .say({ type: 'operator.aborted', ...ann })
      .obey()
      .view(),
  'a newer version hurries a canary that is kept': () =>
    new Story(policyOf('  onNewBlessing: queue\n  keepFailedCanary: 1h\n'))
      .begun()
      .tick(6)
      .seen(bad)
      .obey()
      .view()
      .tick(1)
      .bless('3')
      .obey(),
  'a newer version ends the time that stable is kept': () => new Story().begun().risen(4).bless('3').obey(),
  'somebody else changes the split, and is accepted': () => {
    const story = new Story().begun();
    story.split = { 1: 50, 9: 40, [story.canaryId]: 10 };
    const models = [...story.models, { ...stableModel, id: '9', versionId: '9' }];
    story.models = models;
    story.say({
      type: 'traffic.foreign',
      found: story.split,
      models,
      generation: story.active.context.traffic.generation,
    });
    return story
      .view()
      .say({ type: 'operator.resumed', ...ann })
      .obey()
      .view();
  },
  'somebody else changes the split, and a person aborts': () => {
    const story = new Story().begun();
    story.split = { 1: 50, 9: 40, [story.canaryId]: 10 };
    const models = [...story.models, { ...stableModel, id: '9', versionId: '9' }];
    story.models = models;
    story.say({
      type: 'traffic.foreign',
      found: story.split,
      models,
      generation: story.active.context.traffic.generation,
    });
    return story.say({ type: 'operator.aborted', ...ann }).obey();
  },
  silence: () =>
    new Story()
      .begun()
      .tick(29)
      .tick(1)
      .say({ type: 'operator.resumed', ...ann })
      .tick(29)
      .tick(1),
  'silence, where that rolls back': () =>
    new Story(policyOf('  analysis: { metricLag: 2s, minRequests: 10, noData: { after: 30s, then: rollBack } }\n'))
      .begun()
      .tick(29)
      .tick(1)
      .obey(),
  'too few requests': () =>
    new Story()
      .begun()
      .tick(12)
      .seen({ requests: 8, errors: 0, latencyMs: { bounds: [10], counts: [8, 0] } })
      .tick(47)
      .tick(1),
  'a canary that fails where it serves alone': () =>
    new Story().begun().risen(3).tick(6).seen(bad).view().obey().risen(2).tick(6).seen(bad).obey(),
  'traffic that cannot be moved': () => {
    const story = new Story().bless('2').obey(4);
    const refused: Undated = { type: 'traffic.refused', code: 'unavailable', message: 'later', isRetryable: true };
    for (let i = 0; i < 7; i += 1) story.say(refused);
    return story
      .tick(1799)
      .tick(1)
      .say({ type: 'traffic.refused', code: 'notFound', message: 'gone', isRetryable: false })
      .obey();
  },
  'traffic that may not be moved': () =>
    new Story()
      .bless('2')
      .obey(4)
      .say({ type: 'traffic.refused', code: 'permissionDenied', message: 'not yours', isRetryable: false })
      .obey(),
  'an operation that never ends': () => {
    const story = new Story()
      .begun()
      .say({ type: 'operator.aborted', ...ann })
      .obey(2);
    return story.tick(7199).tick(1).tick(1).obey();
  },
  'a canary that cannot be removed': () => {
    const story = new Story()
      .begun()
      .say({ type: 'operator.aborted', ...ann })
      .obey(1);
    for (let i = 0; i < 10; i += 1)
      story.tick(60).say({ type: 'removal.refused', code: 'internal', message: 'no', isRetryable: true });
    return story;
  },
  'a stable that cannot be removed': () => {
    const story = new Story().begun().risen(4).tick(20);
    for (let i = 0; i < 10; i += 1)
      story.tick(60).say({ type: 'removal.refused', code: 'internal', message: 'no', isRetryable: true });
    return story;
  },
  'replicas that cannot be given back': () => {
    const story = new Story();
    story.models = [reserved];
    story
      .begun()
      .say({ type: 'operator.aborted', ...ann })
      .obey(1);
    for (let i = 0; i < 10; i += 1)
      story.tick(60).say({ type: 'resize.refused', code: 'internal', message: 'no', isRetryable: true });
    return story.obey();
  },
  'replicas that may not be held': () => {
    const story = new Story();
    story.models = [reserved];
    return story
      .bless('2')
      .obey(1)
      .say({ type: 'resize.refused', code: 'internal', message: 'no', isRetryable: true })
      .say({ type: 'resize.refused', code: 'internal', message: 'no', isRetryable: false })
      .obey();
  },
};

it.each(Object.entries(stories))('%s', async (name, tell) => {
  const file = name.replaceAll(/[^a-z0-9]+/g, '-').replace(/-$/, '');
  await expect(`${tell().end().join('\n')}\n`).toMatchFileSnapshot(`stories/${file}.golden`);
});
