/** What is wrong with what came, for whoever sent it? Apart from the shapes of messages: who asks may need none of them. */
import type { z } from 'zod';
import { limits } from './limits.ts';

/** The problems of a value in one sentence: `versionId is required: …; endpoint: expected …`. Of very many, the first. */
export function problemsOf({ issues }: z.ZodError): string {
  const said = issues
    .slice(0, limits.problemsMax)
    .map(({ path, message }) => `${path.join('.') || 'message'}: ${message}`.slice(0, limits.problemCharsMax));
  return [...said, ...(issues.length > said.length ? [`and ${issues.length - said.length} more`] : [])].join('; ');
}
