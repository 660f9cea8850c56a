/**
 * Is a package that production installs known to be unsafe? Asks npm's registry. Where it does not answer, offline or behind
 * a mirror without audits, that is said and is no failure: a build without a network must not fail for the lack of one.
 */
import { spawnSync } from 'node:child_process';
import { z } from 'zod';

const reportSchema = z.object({
  metadata: z.object({ vulnerabilities: z.object({ high: z.int(), critical: z.int() }) }),
});

export type Audit = { kind: 'clean' } | { kind: 'unsafe'; text: string } | { kind: 'unanswered'; text: string };

/** What `npm audit --json` printed, judged: from "high" upwards it is unsafe. */
export function judgeAudit(printed: string): Audit {
  const report = reportSchema.safeParse(parseJson(printed));
  if (!report.success) return { kind: 'unanswered', text: /"message": "([^"]+)"/.exec(printed)?.[1] ?? 'no report' };
  const { high, critical } = report.data.metadata.vulnerabilities;
  if (high + critical === 0) return { kind: 'clean' };
  return { kind: 'unsafe', text: `${critical} critical and ${high} high; see: npm audit --omit=dev` };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

if (import.meta.main) {
  const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], { encoding: 'utf8', timeout: 60_000 });
  const audit = judgeAudit(stdout ?? '');
  if (audit.kind === 'unanswered') console.log(`not checked: the registry did not answer: ${audit.text}`);
  if (audit.kind === 'unsafe') console.log(audit.text);
  process.exitCode = audit.kind === 'unsafe' ? 1 : 0;
}
