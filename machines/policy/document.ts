/**
 * What does the owner's YAML say? Text in, a Policy or every problem out, each with its line and what to write instead.
 * Bounded: the text in bytes, its nesting in levels, aliases not at all, so that no document grows while it is read.
 */
import {
  type ErrorCode,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  parseDocument,
  Parser,
  visit,
  type YAMLError,
} from 'yaml';
import type { z } from 'zod';
import { nth } from '../nth.ts';
import { closest } from './closest.ts';
import { type Doubt, doubtsOf } from './doubts.ts';
import { insteadOf, shortened, shown } from './fields.ts';
import type { Policy } from './policy.ts';
import { documentSchema } from './schema.ts';

/** A policy is a page; anything near this is not one. */
export const POLICY_BYTES_MAX = 32 * 1024;
/** A policy has seven levels. The parser calls itself once for each, and would run out of stack on a thousand. */
const NESTING_MAX = 64;
/** Beyond this many problems, the rest says nothing new. */
const PROBLEMS_MAX = 100;
const PARSER_CHARS_MAX = 300;
/** Errors that leave the rest of the text readable, so that the rest is checked too. */
const READABLE_ERRORS: ReadonlySet<ErrorCode> = new Set(['DUPLICATE_KEY', 'MULTIPLE_DOCS']);

/** Its path is empty for the document as a whole; its message says what was expected, and what was got. */
export interface Problem extends Doubt {
  /** From 1; null where there is no text to point at. */
  line: number | null;
  column: number | null;
}

export type ParsedPolicy =
  | { kind: 'ok'; policy: Policy; warnings: Problem[] }
  | { kind: 'invalid'; problems: Problem[] };

type LinePos = ReturnType<LineCounter['linePos']>;

interface Finding {
  path: readonly PropertyKey[];
  /** True when the problem is the key itself, and not its value. */
  isKey: boolean;
  message: string;
  instead: string | null;
}

/**
 * Parses a policy document. Never throws: what is wrong with the text is in `problems`, all of it at once.
 * @param doubts what to warn of in a policy that is right
 */
export function parsePolicy(text: string, doubts: (policy: Policy) => Doubt[] = doubtsOf): ParsedPolicy {
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > POLICY_BYTES_MAX) {
    return invalid([placed(`expected at most ${POLICY_BYTES_MAX} bytes, got ${bytes}`, null, null)]);
  }
  const tooDeep = nestedTooDeeply(text);
  if (tooDeep !== null) return invalid([tooDeep]);
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'error',
    stringKeys: true,
  });
  const syntax = document.errors.map((error) => {
    const { message, instead } = reworded(error);
    return placed(message, lines.linePos(error.pos[0]), instead);
  });
  if (!document.errors.every(({ code }) => READABLE_ERRORS.has(code))) return invalid(syntax);
  visit(document, {
    Alias: (_, alias) => {
      const message = `expected a value, got the alias *${shortened(alias.source)}; a policy is read without aliases`;
      syntax.push(placed(message, lines.linePos(startOf(alias)), 'the value itself'));
    },
  });
  const hasAliases = syntax.length > document.errors.length;
  if (hasAliases) return invalid(syntax);

  const findings = read(document.toJS({ maxAliasCount: 0 }), doubts);
  const place = (finding: Finding): Problem => {
    const offset = offsetOf(document.contents, finding);
    return {
      path: formatPath(finding.path),
      ...position(lines.linePos(offset)),
      message: finding.message,
      instead: finding.instead,
    };
  };
  if (findings.kind === 'invalid' || syntax.length > 0) return invalid([...syntax, ...findings.findings.map(place)]);
  const odd = document.warnings.map(({ message, pos }) => placed(firstLine(message), lines.linePos(pos[0]), null));
  return { kind: 'ok', policy: findings.policy, warnings: [...odd, ...findings.findings.map(place)] };
}

/** The parser's own tokens tell how deep it is, before anything is made of them. */
function nestedTooDeeply(text: string): Problem | null {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme)) continue;
    if (parser.stack.length > NESTING_MAX) {
      const message = `expected a policy, got one that is nested too deeply: more than ${NESTING_MAX} levels`;
      return placed(message, lines.linePos(parser.offset), null);
    }
  }
  return null;
}

/** Parses a policy that was decoded before, such as from a database. Its problems have a path, and no line. */
export function parsePolicyValue(value: unknown): ParsedPolicy {
  const reading = read(value, doubtsOf);
  const problems = reading.findings.map(({ path, message, instead }) => ({
    ...placed(message, null, instead),
    path: formatPath(path),
  }));
  return reading.kind === 'ok' ? { kind: 'ok', policy: reading.policy, warnings: problems } : invalid(problems);
}

/** One line for a person: `delays.yaml:12:7 spec.steps[1].percent: expected …; write: …`. */
export function formatProblem(file: string, { path, line, column, message, instead }: Problem): string {
  const place = line === null || column === null ? file : `${file}:${line}:${column}`;
  return `${place} ${path === '' ? '' : `${path}: `}${message}${instead === null ? '' : `; write: ${instead}`}`;
}

type Reading =
  | { kind: 'ok'; policy: Policy /** Warnings. */; findings: Finding[] }
  | { kind: 'invalid'; findings: Finding[] };

function read(value: unknown, doubts: (policy: Policy) => Doubt[]): Reading {
  const parsed = documentSchema.safeParse(value);
  return parsed.success
    ? { kind: 'ok', policy: parsed.data, findings: doubts(parsed.data).map(toFinding) }
    : { kind: 'invalid', findings: parsed.error.issues.flatMap(toFindings) };
}

function toFindings(issue: z.core.$ZodIssue): Finding[] {
  const { path, message } = issue;
  if (issue.code === 'unrecognized_keys') {
    // See mapping() in fields.ts: the message is the list of keys known there.
    const known = message.split(' ');
    return issue.keys.map((key) => ({
      path: [...path, key],
      isKey: true,
      message: `expected one of ${known.join(', ')}, got the unknown key ${shown(key)}`,
      instead: closest(key, known),
    }));
  }
  return [{ path, isKey: false, message, instead: insteadOf(issue) }];
}

function toFinding({ path, ...rest }: Doubt): Finding {
  const segments = path.split(/[.[\]]+/).filter((segment) => segment !== '');
  return { ...rest, path: segments.map((each) => (/^\d+$/.test(each) ? Number(each) : each)), isKey: false };
}

/** Where in the text the finding is: its node, or the nearest one around it that is there. */
function offsetOf(root: unknown, { path, isKey }: Finding): number {
  let node = root;
  for (const [depth, segment] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === segment);
      if (pair === undefined) break;
      const isHere = isKey && depth === path.length - 1;
      // A key without a value has nothing to point at but itself.
      node = isHere || !isNode(pair.value) ? pair.key : pair.value;
    } else if (isSeq(node)) node = node.items[Number(segment)] ?? node;
    else break;
  }
  return startOf(node);
}

/** Where a node begins; an empty document has none. */
function startOf(node: unknown): number {
  const range = isNode(node) ? node.range : null;
  return range?.[0] ?? 0;
}

/** The errors that a policy's author is likely to meet, in our words. */
const REWORDED: Partial<Record<ErrorCode, { message: string; instead: string | null }>> = {
  DUPLICATE_KEY: { message: 'expected each key once, got this one again', instead: null },
  MULTIPLE_DOCS: { message: 'expected one policy, got another document', instead: 'one file for each policy' },
  BAD_ALIAS: { message: 'expected a value, got a bare asterisk', instead: '"*" in quotes' },
  TAB_AS_INDENT: { message: 'expected spaces, got a tab as indentation', instead: 'two spaces' },
};

function reworded({ code, message }: YAMLError): { message: string; instead: string | null } {
  return REWORDED[code] ?? { message: `expected YAML, got: ${firstLine(message)}`, instead: null };
}

function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, segment) => {
    if (typeof segment === 'number') return `${text}[${segment}]`;
    const key = shortened(String(segment));
    return text === '' ? key : `${text}.${key}`;
  }, '');
}

function placed(message: string, at: LinePos | null, instead: string | null): Problem {
  return { path: '', ...position(at), message, instead };
}

function position(at: LinePos | null): { line: number | null; column: number | null } {
  return { line: at?.line ?? null, column: at?.col ?? null };
}

/** Of what the parser says, which may quote a line of any length. */
function firstLine(text: string): string {
  return nth(text.split('\n'), 0).slice(0, PARSER_CHARS_MAX);
}

function invalid(problems: Problem[]): ParsedPolicy {
  const inOrder = problems.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
  return { kind: 'invalid', problems: inOrder.slice(0, PROBLEMS_MAX) };
}
