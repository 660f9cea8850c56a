/** Do the documents tell the truth? Commands exist, links lead somewhere, files are there, examples are understood. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { main } from '../cli/rollouts.ts';
import { createFaults } from '../emulator/faults.ts';
import {
  blessingMessageSchema,
  commandMessageSchema,
  commandNames,
  evidenceMessageSchema,
  incidentMessageSchema,
  logEntrySchema,
  tickMessageSchema,
} from '../functions/engine/messages.ts';
import type { BusPort, OutgoingMessage } from '../functions/engine/ports.ts';
import { problemsOf } from '../functions/engine/problems.ts';
import { cloudEvent, sendAttention, sendDeadLetter, topics } from '../functions/engine/publish.ts';
import { formatProblem, parsePolicy } from '../machines/policy/document.ts';
import { happenings } from '../machines/rollout/announce.ts';
import { recordSchema } from '../machines/rollout/record.ts';

const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...globSync('docs/**/*.md').toSorted()];
const packageSchema = z.object({ scripts: z.record(z.string(), z.string()) });
const { scripts } = packageSchema.parse(JSON.parse(readFileSync('package.json', 'utf8')));
const textOf = (page: string): string => readFileSync(page, 'utf8');

describe.each(pages)('%s', (page) => {
  const text = textOf(page);

  test('links to what is there', () => {
    const links = [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
    expect(links.filter((link) => !/^https?:/.test(link)).filter((link) => !leadsSomewhere(page, link))).toEqual([]);
  });

  test('names files that are there', () => {
    const named = codeOf(text).flatMap(
      (code) => code.match(/^(?:machines|functions|emulator|cli|test|docs)\/[\w./-]+$/) ?? [],
    );
    expect(named.filter((file) => !existsSync(file))).toEqual([]);
  });

  test('names npm scripts and tools that are there', () => {
    const code = codeOf(text).join('\n');
    const asked = [...code.matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map(([, name = '']) => name);
    const direct = [...code.matchAll(/npm (start|test)\b/g)].map(([, name = '']) => name);
    expect([...asked, ...direct].filter((name) => scripts[name] === undefined)).toEqual([]);
    const tools = [...code.matchAll(/npx ([\w-]+)/g)].map(([, name = '']) => name);
    expect(tools.filter((tool) => !existsSync(`node_modules/.bin/${tool}`))).toEqual([]);
    const run = [...code.matchAll(/npx node (\S+)/g)].map(([, file = '']) => file);
    expect(run.filter((file) => !existsSync(file))).toEqual([]);
  });

  test('names commands and options that rollouts knows', async () => {
    const unknown = [];
    for (const line of codeOf(text).flatMap(rolloutsLines)) {
      const help = await helpOf(line);
      const options = line.filter((word) => word.startsWith('--'));
      if (help === null || options.some((option) => !help.includes(option))) unknown.push(line.join(' '));
    }
    expect(unknown).toEqual([]);
  });

  test('shows policies that can be parsed, and JSON that is JSON', () => {
    expect(fencesOf(text).flatMap(exampleProblems)).toEqual([]);
  });
});

describe('docs/messages.md', () => {
  const text = textOf('docs/messages.md');
  const incoming: Record<string, z.ZodType> = {
    blessing: blessingMessageSchema,
    'log-entry': logEntrySchema,
    command: commandMessageSchema,
    evidence: evidenceMessageSchema,
    incident: incidentMessageSchema,
    tick: tickMessageSchema,
  };
  const outgoing = ['notification', 'attention', 'dead-letter-attributes'];
  const examples = new Map(fencesOf(text).map(({ kind, body }) => [kind, body]));
  const example = (kind: string): unknown => JSON.parse(examples.get(kind) ?? 'null');

  test('has one example of each message', () => {
    expect([...examples.keys()].toSorted()).toEqual([...Object.keys(incoming), ...outgoing].toSorted());
  });

  test.each(Object.entries(incoming))('the example of a %s is understood', (kind, schema) => {
    const result = schema.safeParse(example(kind));
    expect(result.success ? '' : problemsOf(result.error)).toBe('');
  });

  test('the example of a notification is one that is sent', () => {
    const event = z
      .object({ id: z.string(), type: z.string(), data: z.record(z.string(), z.unknown()) })
      .parse(example('notification'));
    const notification = recordSchema.shape.outbox.element.parse({
      by: null,
      verdict: null,
      ...event.data,
      id: event.id,
      what: event.type.split('.').at(-2),
      at: Date.parse(String(event.data['at'])),
    });
    expect(cloudEvent(notification)).toEqual(example('notification'));
  });

  test('the example of an attention is one that is sent', async () => {
    const { subject, data } = z
      .object({ subject: z.string(), data: z.object({ reason: z.string(), at: z.string() }) })
      .parse(example('attention'));
    const sent = await sentBy((bus) => sendAttention(bus, { subject, text: data.reason, at: Date.parse(data.at) }));
    expect(JSON.parse(Buffer.from(sent.data).toString())).toEqual(example('attention'));
  });

  test('the example of a dead letter is one that is sent', async () => {
    const rejected = blessingMessageSchema.safeParse({ model: 'projects/p/locations/l/models/m' });
    const reason = rejected.error === undefined ? '' : problemsOf(rejected.error);
    const sent = await sentBy((bus) =>
      sendDeadLetter(bus, { data: Buffer.from('{}'), reason, door: 'onBlessing', messageId: '8273645' }),
    );
    expect(sent.attributes).toEqual(example('dead-letter-attributes'));
  });

  test('names every topic, every command and everything that can happen', () => {
    const firsts = new Set([...text.matchAll(/^\| `([\w-]+)`/gm)].map(([, name]) => name));
    expect([...Object.values(topics), ...commandNames, ...happenings].filter((name) => !firsts.has(name))).toEqual([]);
  });
});

describe('docs/emulator.md', () => {
  test('shows faults that the emulator takes', () => {
    const [rules] = fencesOf(textOf('docs/emulator.md')).filter(({ kind }) => kind === 'faults');
    const faults = createFaults({ metricGaps: [], operationsAreStuck: false }, () => 0);
    faults.add(JSON.parse(rules?.body ?? 'null'));
    expect(faults.list()).toHaveLength(5);
  });
});

describe('what is checked here', () => {
  test('a command, an option, a policy or an anchor that does not exist is found', async () => {
    expect(rolloutsLines('npm run rollouts -- list --json\nrollouts fly away')).toEqual([
      ['list', '--json'],
      ['fly', 'away'],
    ]);
    expect(await helpOf(['fly', 'away'])).toBeNull();
    expect(await helpOf(['policy', 'fly'])).toBeNull();
    expect(await helpOf(['list'])).not.toContain('--fly');
    expect(exampleProblems({ language: 'json', kind: '', body: '{' })).toHaveLength(1);
    expect(exampleProblems({ language: 'yaml', kind: '', body: 'kind: RolloutPolicy' })).not.toEqual([]);
    expect(leadsSomewhere('docs/messages.md', '#log-entry')).toBe(true);
    expect(leadsSomewhere('docs/messages.md', '#nowhere')).toBe(false);
    expect(leadsSomewhere('docs/messages.md', 'nowhere.md')).toBe(false);
  });
});

describe('the decisions', () => {
  const decisions = globSync('docs/decisions/*.md').toSorted();

  test('are numbered without gaps, and are in the index', () => {
    const index = textOf('docs/README.md');
    for (const [i, file] of decisions.entries()) {
      expect(file).toMatch(new RegExp(`^docs/decisions/${String(i + 1).padStart(4, '0')}-[a-z0-9-]+\\.md$`));
      expect(index).toContain(file.replace('docs/', ''));
    }
  });

  test.each(decisions)('%s has its parts', (file) => {
    const headings = [...textOf(file).matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual(['Context', 'Decision', 'Consequences', 'Held by']);
    expect(textOf(file)).toMatch(/^Status: (accepted|superseded)/m);
  });
});

describe('continuous integration', () => {
  test('ends with the test command of the README', () => {
    expect(fencesOf(textOf('README.md')).some(({ body }) => body.trim() === 'npm test')).toBe(true);
    expect(textOf('.ci/run').trimEnd().split('\n').at(-1)).toBe('npm test');
  });

  test('is the same in Cloud Build', () => {
    expect(textOf('cloudbuild.yaml')).toContain('args: [.ci/run]');
    expect(parseYaml(textOf('cloudbuild.yaml'))).toMatchObject({ options: { logging: 'CLOUD_LOGGING_ONLY' } });
  });
});

interface Fence {
  language: string;
  /** The word after the language, which only this test reads. */
  kind: string;
  body: string;
}

function fencesOf(text: string): Fence[] {
  return [...text.matchAll(/^```(\w+) ?([\w-]*)\n([\s\S]*?)^```$/gm)].map(
    ([, language = '', kind = '', body = '']) => ({
      language,
      kind,
      body,
    }),
  );
}

/** What is wrong with an example, if anything. */
function exampleProblems({ language, body }: Fence): string[] {
  try {
    if (language === 'json') JSON.parse(body);
    if (language !== 'yaml' || !body.includes('kind: RolloutPolicy')) return [];
    const policy = parsePolicy(body);
    return policy.kind === 'ok' ? [] : policy.problems.map((problem) => formatProblem('example', problem));
  } catch (error) {
    return [`${String(error)} in ${body}`];
  }
}

/** Code in blocks, fenced or indented, and between backticks. */
function codeOf(text: string): string[] {
  const rest = text.replaceAll(/^```[\s\S]*?^```$/gm, '');
  const spans = [...rest.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code);
  const indented = [...rest.matchAll(/^ {4}(\S.*)$/gm)].map(([, code = '']) => code);
  return [...fencesOf(text).map(({ body }) => body), ...indented, ...spans];
}

function withoutCode(text: string): string {
  return text.replaceAll(/^```[\s\S]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '');
}

function leadsSomewhere(page: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : join(dirname(page), path);
  if (!existsSync(target)) return false;
  return (
    anchor === undefined ||
    [...textOf(target).matchAll(/^#+ (.+)$/gm)].some(([, heading = '']) => slug(heading) === anchor)
  );
}

/** As GitHub makes anchors. */
function slug(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

/** The words after `rollouts` in each line that begins with it, or with `npm run rollouts --`. */
function rolloutsLines(code: string): string[][] {
  return [...code.matchAll(/^(?:npm run (?:--silent )?rollouts -- |rollouts )(.+)$/gm)].map(([, words = '']) =>
    words.split(/\s+/),
  );
}

/** What the command line says of a command; null when it does not know it. */
async function helpOf(words: string[]): Promise<string | null> {
  const names = words.slice(0, words[0] === 'policy' ? 2 : 1).filter((word) => !word.startsWith('--'));
  const said: string[] = [];
  const sink = { write: (text: string) => said.push(text) };
  const world = {
    stdout: sink,
    stderr: sink,
    env: {},
    folder: '.',
    user: 'ann',
    now: () => 0,
    sleep: () => Promise.resolve(),
  };
  const code = await main([...names, '--help'], world);
  const help = said.join('');
  const isKnown = names.length === 0 || help.includes(`Usage: rollouts ${names.join(' ')}`);
  return code === 0 && isKnown ? help : null;
}

/** The one message that is published. */
async function sentBy(send: (bus: BusPort) => Promise<void>): Promise<OutgoingMessage> {
  const sent: OutgoingMessage[] = [];
  await send({
    publish: (_topic, messages) => {
      sent.push(...messages);
      return Promise.resolve();
    },
  });
  const [message] = sent;
  if (message === undefined) throw new Error('expected a message, got none');
  return message;
}
