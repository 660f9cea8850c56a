/**
 * What did a client learn of its predictions afterwards? Outcomes by DeployedModel, for the checks of a policy whose
 * numbers are reported. No other name gets in: what nobody asked for is told to the client, not counted.
 */
import { z } from 'zod';
import type { Policy } from '../../machines/policy/policy.ts';
import { limits } from '../engine/limits.ts';
import { problemsOf } from '../engine/problems.ts';
import { type ReportedKind, reportedChecks } from '../engine/reported.ts';
import { deployedModelIdPattern } from '../engine/deployed-model-id.ts';

export interface ReportedOutcome {
  deployedModelId: string;
  /** The check's name. */
  check: string;
  /** True is a hit of a rate, false a trial without one; a number is a value. */
  value: boolean | number;
}

export type Reports = { kind: 'read'; outcomes: ReportedOutcome[] } | { kind: 'problem'; text: string };

const reportSchema = z.strictObject({
  deployedModelId: z
    .string()
    .regex(deployedModelIdPattern, 'expected the digits that the prediction was answered with'),
  outcomes: z
    .record(z.string(), z.union([z.boolean(), z.number()], 'expected true, false or a number'))
    .refine((outcomes) => Object.keys(outcomes).length > 0, 'expected at least one check by its name'),
});

const oneSchema = reportSchema.transform((report) => ({ reports: [report] }));
const listSchema = z.strictObject({ reports: z.array(reportSchema).min(1).max(limits.reportsMax) });

/** Reads one report, or a list of them, for a policy's checks. Whole or not at all, with every problem in one sentence. */
export function parseReports(body: Buffer, policy: Policy): Reports {
  const json = parse(body);
  if (json === undefined) return { kind: 'problem', text: 'the body is not JSON' };
  const isList = typeof json === 'object' && json !== null && 'reports' in json;
  const parsed = isList ? listSchema.safeParse(json) : oneSchema.safeParse(json);
  if (!parsed.success) return { kind: 'problem', text: problemsOf(parsed.error) };
  const reported = reportedChecks(policy.analysis);
  // A set: the same mistake in a hundred reports is one mistake.
  const problems = new Set<string>();
  const outcomes: ReportedOutcome[] = [];
  for (const report of parsed.data.reports) {
    for (const [check, value] of Object.entries(report.outcomes)) {
      const problem = problemWith(check, value, reported, policy);
      if (problem === null) outcomes.push({ deployedModelId: report.deployedModelId, check, value });
      else problems.add(problem);
    }
  }
  return problems.size === 0 ? { kind: 'read', outcomes } : { kind: 'problem', text: [...problems].join('; ') };
}

function problemWith(
  check: string,
  value: boolean | number,
  reported: Map<string, ReportedKind>,
  policy: Policy,
): string | null {
  const kind = reported.get(check);
  if (kind === undefined) {
    const known = reported.size === 0 ? 'none' : [...reported.keys()].join(', ');
    return `outcomes.${check}: policy ${policy.name} has no such check that clients report; it has ${known}`;
  }
  if (kind === 'hits' && typeof value !== 'boolean')
    return `outcomes.${check}: the check counts hits; expected true or false, got a number`;
  if (kind === 'bounds' && typeof value !== 'number')
    return `outcomes.${check}: the check compares values; expected a number, got ${value}`;
  return null;
}

/** Undefined when it is not JSON. */
function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
