/** Which of a policy's checks do others report, and what do they take? Whatever is not named here gets in nowhere. */
import type { AnalysisPolicy } from '../../machines/policy/policy.ts';

/** Hits of trials, or a histogram of values: the property by which a signal of that kind is known. */
export type ReportedKind = 'hits' | 'bounds';

/** The checks that reports feed, by name. A limit is not among them: of two reporters, nobody knows whose value is latest. */
export function reportedChecks({ checks }: AnalysisPolicy): Map<string, ReportedKind> {
  const reported = new Map<string, ReportedKind>();
  for (const { name, from, rule } of checks) {
    if (from.kind === 'reported' && rule.kind !== 'limit') reported.set(name, rule.kind === 'rate' ? 'hits' : 'bounds');
  }
  return reported;
}
