import { describe, expect, it } from 'vitest';
import type { Evidence } from '../../../machines/analysis/evidence.ts';
import type { Blessing } from '../../../machines/rollout/context.ts';
import { blessingRefusal, type Decision, decide, type RecordEvent } from '../../../machines/rollout/decide.ts';
import { placeOf } from '../../../machines/rollout/describe.ts';
import { machineLimits } from '../../../machines/rollout/limits.ts';
import { type EndpointRecord, emptyRecord } from '../../../machines/rollout/record.ts';
import { deployedCanary, endpoint, good, type Life, model, onFirstStep, onLastStep, policyOf } from './life.ts';

const at = 1_000_000;
const ann = { by: 'ann', reason: 'a look' };
const empty = emptyRecord(endpoint);
const queueing = policyOf('  onNewBlessing: queue\n');

function blessed(versionId: string, blessedAt = at): Blessing {
  return { eventId: `e${versionId}`, model, versionId, blessedAt, by: null };
}

function received(versionId: string, blessedAt = at, policy = policyOf()): RecordEvent {
  return { type: 'blessing.received', at: blessedAt, blessing: blessed(versionId, blessedAt), policy, isRetry: false };
}

/** The record after all of it. */
function after(record: EndpointRecord, ...events: RecordEvent[]): EndpointRecord {
  return events.reduce((known, event) => decide(known, event).record, record);
}

function recordOf({ rollout }: Life): EndpointRecord {
  return { ...empty, active: rollout };
}

function textsOf({ journal }: Decision): string[] {
  return journal.map(({ data }) => data.text);
}

/** Begins and ends at once, as no such version is there. */
function missing(endedAt: number): RecordEvent {
  return { type: 'target.missing', at: endedAt, message: 'gone' };
}

describe('a blessing', () => {
  const endedAt = at + 5000;
  const ended = () => after(empty, received('2'), missing(endedAt));
  const had = /^version 2 of .*\/delays had its rollout \(delays-2-\w+, failed\); retry it, or bless it anew$/;
  const other = model.replace('delays', 'fares');

  it.each<[string, Blessing, RegExp | null]>([
    ['that came while its rollout was on', blessed('2', at + 1), had],
    ['that came as its rollout ended', blessed('2', endedAt), had],
    ['that came just after', blessed('2', endedAt + 1), null],
    ['of another version', blessed('3', at + 1), null],
    ['of another model’s version', { ...blessed('2', at + 1), model: other }, null],
    ['of another version, at the same moment as the newest', blessed('3', at), null],
    [
      'of another version, just before the newest',
      blessed('3', at - 1),
      /^version 3 of .* was blessed before one that/,
    ],
  ])('%s', (_which, blessing, refusal) => {
    const said = blessingRefusal(ended(), blessing, false);
    if (refusal === null) expect(said).toBeNull();
    else expect(said).toMatch(refusal);
  });

  it('of what had its rollout is followed when a person retries it', () => {
    expect(blessingRefusal(ended(), blessed('2', at + 1), true)).toBeNull();
  });

  it('is told in the journal with all that the rollout was begun with', () => {
    const { journal, record, archive } = decide(empty, received('2'));
    const event = { type: 'rollout.started', at, blessing: blessed('2'), policy: policyOf() };
    expect(journal).toMatchObject([{ at, sequence: 1, data: { event, from: '', by: null } }]);
    expect(record.outbox).toMatchObject([{ what: 'started', at, by: null }]);
    expect(archive).toEqual([record.active]);
  });

  it('that waits is told under its own name', () => {
    const { outbox } = after(empty, received('2', at, queueing), received('3', at + 1, queueing));
    expect(outbox.at(-1)).toMatchObject({ what: 'queued', rollout: 'delays-3', versionId: '3', state: 'queued' });
  });
});

describe('a blessing that waits', () => {
  const kept = () => recordOf(onLastStep(policyOf('  keepStable: 1h\n')).after(12).monitored(good).after(0));
  const soon = at + 200_000;

  it('reminds the active rollout of it at each tick, and at nothing else', () => {
    const paused = after(kept(), { type: 'operator.paused', at: soon, ...ann }, received('3', soon + 1));
    expect(paused.queued?.blessing.versionId).toBe('3');
    const resumed = after(paused, { type: 'operator.resumed', at: soon + 2, ...ann });
    const place = ({ active }: EndpointRecord) => active && placeOf(active);
    expect(place(resumed)).toBe('forward.observing.keeping');
    const reminded = decide(resumed, { type: 'clock.ticked', at: soon + 3 });
    expect(place(reminded.record)).toBe('forward.observing.retiring');
    expect(reminded.journal.map(({ data }) => data.event)).toEqual([
      { type: 'blessing.newer', at: soon + 3, versionId: '3' },
    ]);
  });
});

describe('a tick', () => {
  it('commits nothing where nothing waits and nothing is due', () => {
    const record = recordOf(onFirstStep());
    expect(decide(record, { type: 'clock.ticked', at: at + 1 })).toEqual({ record, journal: [], archive: [] });
    expect(decide(record, { type: 'clock.ticked', at: at + 1 }).record).toBe(record);
    expect(decide(empty, { type: 'clock.ticked', at }).record).toBe(empty);
  });
});

describe('what is to be told', () => {
  const noisy = (record: EndpointRecord, times: number): EndpointRecord => {
    let last = record;
    for (let i = 0; i < times; i += 1)
      last = after(last, { type: 'operator.paused', at, ...ann }, { type: 'operator.resumed', at, ...ann });
    return last;
  };
  const idsOf = ({ outbox }: EndpointRecord) => outbox.map(({ id }) => id);

  it('stays until it was sent, each by itself', () => {
    const record = noisy(recordOf(onFirstStep()), 2);
    const [first, second, ...others] = idsOf(record);
    expect(new Set(idsOf(record)).size).toBe(4);
    const ids = [second ?? '', 'never told'];
    const sent = after(record, { type: 'notifications.sent', at, ids });
    expect(idsOf(sent)).toEqual([first, ...others]);
    expect(after(sent, { type: 'notifications.sent', at, ids })).toBe(sent);
  });

  it('is at most so much, of which the oldest goes', () => {
    const whats = ({ outbox }: EndpointRecord, last: number) => outbox.slice(-last).map(({ what }) => what);
    const full = noisy(recordOf(onFirstStep(queueing)), machineLimits.outboxMax / 2);
    expect(full.outbox).toHaveLength(machineLimits.outboxMax);
    const paused = after(full, { type: 'operator.paused', at, ...ann });
    expect(idsOf(paused)).toEqual([...idsOf(full).slice(1), idsOf(paused).at(-1)]);
    const queued = after(paused, received('3', at + 1, queueing), received('4', at + 2, queueing));
    expect(queued.outbox).toHaveLength(machineLimits.outboxMax);
    expect(whats(queued, 4)).toEqual(['paused', 'queued', 'superseded', 'queued']);
    const begun = after({ ...full, active: null }, received('3', at + 1));
    expect(begun.outbox).toHaveLength(machineLimits.outboxMax);
    expect(whats(begun, 2)).toEqual(['resumed', 'started']);
  });
});

describe('what ended', () => {
  it('is remembered newest first, and at most so many', () => {
    let record = empty;
    for (let i = 0; i <= machineLimits.historyMax; i += 1)
      record = after(record, received(String(i), at + i), missing(at + i));
    expect(record.history).toHaveLength(machineLimits.historyMax);
    expect(record.history[0]).toMatchObject({ versionId: String(machineLimits.historyMax), state: 'failed' });
    expect(record.history.at(-1)?.versionId).toBe('1');
  });

  it('is archived as it ended', () => {
    const { archive, record } = decide(after(empty, received('2')), missing(at + 7));
    expect(archive.map(({ context }) => context.endedAt)).toEqual([at + 7]);
    expect(record.active).toBeNull();
  });
});

describe('the journal', () => {
  const evidenceOf = (
    counts: Evidence['variants'][string],
    stable: Evidence['variants'][string],
    notes?: string[],
  ): Evidence => ({
    source: 'monitoring',
    window: { fromAt: at, toAt: at + 10_000 },
    variants: { 77: counts, 1: stable },
    ...(notes === undefined ? {} : { notes }),
  });

  function said(evidence: Evidence) {
    const decision = decide(recordOf(onFirstStep()), { type: 'evidence.observed', at: at + 12_000, evidence });
    const verdict = decision.record.active?.context.verdicts.monitoring;
    return { texts: textsOf(decision), verdict };
  }

  it('says what evidence says that moved nothing: what makes the verdict, and not the rest', () => {
    const { texts, verdict } = said(evidenceOf(good, good));
    const reasons = verdict?.reasons ?? [];
    expect(new Set(reasons.map(({ kind }) => kind))).toEqual(new Set(['inconclusive', 'healthy']));
    const [mismatch] = reasons.filter(({ kind }) => kind === 'inconclusive');
    expect(mismatch?.text).toContain('The canary was meant to get 5 % of the requests');
    expect(texts).toEqual([`inconclusive: ${mismatch?.text}`]);
  });

  it('joins what makes the verdict, and what was noted of the evidence on its way', () => {
    const stable = { ...good, requests: 95_000, latencyMs: { ...good.latencyMs, counts: [85_500, 9500, 0, 0] } };
    const { texts, verdict } = said(evidenceOf(good, stable, ['One window was cut.', 'A name was unknown.']));
    const reasons = verdict?.reasons.map(({ text }) => text) ?? [];
    expect(reasons).toHaveLength(2);
    expect(texts).toEqual([`healthy: ${reasons.join(' ')} One window was cut. A name was unknown.`]);
  });

  it('keeps the sum of stable’s past, in which each period is counted', () => {
    const past = (fromAt: number, variants: Record<string, number>): Evidence => ({
      source: 'monitoring',
      window: { fromAt, toAt: fromAt + 1000 },
      variants: Object.fromEntries(
        Object.entries(variants).map(([id, requests]) => [
          id,
          { requests, errors: 1, latencyMs: { bounds: [10], counts: [requests, 0] } },
        ]),
      ),
    });
    const windows = [past(900_000, { 1: 100 }), past(901_000, { 1: 200, 5: 7 }), past(903_000, { 5: 3 })];
    const decision = decide(recordOf(deployedCanary()), { type: 'past.observed', at, windows });
    expect(textsOf(decision)).toEqual(["Stable's past is known from 3 windows; this is their sum."]);
    const sum = (requests: number) => ({ requests, errors: 2, latencyMs: { bounds: [10], counts: [requests, 0] } });
    expect(decision.journal[0]?.data.event).toEqual({
      type: 'past.observed',
      at,
      windows: [
        { source: 'monitoring', window: { fromAt: 900_000, toAt: 904_000 }, variants: { 1: sum(300), 5: sum(10) } },
      ],
    });
  });

  it.each<[string, RecordEvent, string[]]>([
    [
      'a person, to whom that is answered',
      { type: 'operator.approved', at, ...ann },
      ['Ignored: operator.approved means nothing in forward.warming.'],
    ],
    [
      'an alert',
      { type: 'incident.opened', at, incident: 'i1', summary: 'errors' },
      ['Ignored: incident.opened means nothing in forward.warming.'],
    ],
    ['a look', { type: 'endpoint.observed', at, split: {}, models: [] }, []],
    ['an answer', { type: 'deploy.found', at }, []],
  ])('tells of what changed nothing when it came of %s', (_who, event, texts) => {
    const policy = policyOf('  analysis: { metricLag: 2s, incident: ignore }\n');
    const record = after(recordOf(deployedCanary(policy)), { type: 'endpoint.observed', at, split: {}, models: [] });
    const decision = decide(record, event);
    expect(textsOf(decision)).toEqual(texts);
    expect(decision.record.active).toBe(record.active);
    if (texts.length === 0) expect(decision.record).toBe(record);
  });
});
