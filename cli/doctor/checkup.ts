/** What is found, and how is it said? The forms that all checks share, and how one is run. */
import { isPlatformError, type PermanentError, type TransientError } from '../../functions/engine/errors.ts';
import type { Site } from './site.ts';

export interface Problem {
  what: string;
  /** Why it matters. */
  why: string;
  /** What mends it: a command, or what to do first. */
  mend: string;
}

/** What a check has to say: what it saw, and what is wrong with it. */
export type Outcome = { seen: string; problems: Problem[] } | { unchecked: string };

export interface Check {
  name: string;
  run: (site: Site) => Promise<Outcome>;
}

export interface Finding {
  check: string;
  status: 'ok' | 'problem' | 'unchecked';
  /** What was seen, or why nothing was. */
  seen: string;
  problems: Problem[];
}

/** Runs one check. What it cannot read is a problem of its own: nobody knows how it is. */
export async function findingOf({ name, run }: Check, site: Site): Promise<Finding> {
  const outcome = await run(site).catch((error: unknown): Outcome => {
    if (!isPlatformError(error)) throw error;
    return { seen: 'could not look', problems: [unreadable(error, site)] };
  });
  if ('unchecked' in outcome) return { check: name, status: 'unchecked', seen: outcome.unchecked, problems: [] };
  const { seen, problems } = outcome;
  return { check: name, status: problems.length === 0 ? 'ok' : 'problem', seen, problems };
}

/** A number of things, in words. */
export function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}

/** The end of a gcloud command: the project, and the region where the thing has one. */
export function inProject({ environment: { project } }: Site): string {
  return `--project=${project}`;
}

export function inRegion(site: Site, flag: 'location' | 'region' = 'location'): string {
  return `--${flag}=${site.environment.location} ${inProject(site)}`;
}

function unreadable(error: TransientError | PermanentError, site: Site): Problem {
  const isLocal = site.google === null;
  const mends: Partial<Record<typeof error.code, string>> = {
    permissionDenied: `gcloud projects add-iam-policy-binding ${site.environment.project} --member=user:YOU --role=roles/viewer`,
    unauthenticated: 'gcloud auth application-default login',
    unavailable: isLocal ? 'npm start' : 'see https://status.cloud.google.com, and try again',
    notFound: isLocal ? 'npm start' : 'terraform apply',
  };
  return {
    what: error.message,
    why: 'What cannot be read may be well or not: nobody knows.',
    mend: mends[error.code] ?? 'try again; if it stays so, look at the message',
  };
}
