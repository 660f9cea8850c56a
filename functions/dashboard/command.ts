/** What does an operator order, and does the order come from the dashboard's own page, or from another in their browser? */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';

const commandSchema = z.strictObject({
  command: z.enum(['pause', 'resume', 'abort', 'promote', 'promote-full', 'approve', 'retry']),
  reason: z.string().max(1000).optional(),
  by: z.string().max(200).optional(),
  /** Sent again with the same id, a command acts once. */
  commandId: z.string().min(1).max(200).optional(),
});

/** The message on `rollout-commands`, as JSON. */
export type RolloutCommand = z.infer<typeof commandSchema> & { commandId: string; rollout: string };

export type ParsedCommand = { kind: 'command'; command: RolloutCommand } | { kind: 'invalid'; problem: string };

/** Parses the body of a command for a rollout. A command without an id gets one. */
export function parseCommand(rollout: string, body: Buffer): ParsedCommand {
  const parsed = commandSchema.safeParse(json(body));
  if (parsed.success) {
    const commandId = parsed.data.commandId ?? randomUUID();
    return { kind: 'command', command: { ...parsed.data, commandId, rollout } };
  }
  const problems = parsed.error.issues.map(({ path, message }) => [path.join('.'), message].filter(Boolean).join(': '));
  const problem = `Expected a JSON object such as {"command":"pause","reason":"…"}; got: ${problems.join('; ')}`;
  return { kind: 'invalid', problem };
}

/**
 * Says why a command must be refused for where it comes from; null when it need not be. A browser always tells the
 * origin of a POST; what tells none is no browser, and cannot be misled by a web page.
 */
export function refusalOfOrigin(headers: IncomingHttpHeaders): { code: number; message: string } | null {
  const [type = ''] = (headers['content-type'] ?? '').split(';', 1);
  // A form on another site cannot send this type; a script there would have to ask first, and is not allowed.
  if (type.trim().toLowerCase() !== 'application/json') {
    return { code: 415, message: 'Send the command with content-type: application/json' };
  }
  const site = headers['sec-fetch-site'];
  const isForeign = site !== undefined && site !== 'same-origin';
  if (isForeign || (headers.origin !== undefined && hostOf(headers.origin) !== headers.host)) {
    return {
      code: 403,
      message: "Commands are taken from the dashboard's own page, or from a client that is no browser",
    };
  }
  return null;
}

function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}

function json(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    // No JSON is no object, which the schema then says.
    return undefined;
  }
}
