/** What do Google's administrative APIs say of a project? Plain REST, read-only, for what no client of ours is for. */
import { limits } from '../../functions/engine/limits.ts';
import type { Clients } from '../../functions/gcp/clients.ts';
import { call } from '../../functions/gcp/status.ts';

/** Asks by GET or, with a body, by POST; the reply is JSON. Throws as call() does. */
export type Google = (url: string, body?: object) => Promise<unknown>;

/** With the credentials of whoever runs this, as Google's clients find them. */
export function askGoogle(clients: Clients): Google {
  return (url, body) =>
    call(`${body === undefined ? 'GET' : 'POST'} ${url}`, limits.callDeadlineMs, async () => {
      const { auth } = await clients.scheduler();
      const timeout = limits.callDeadlineMs;
      const reply = await auth.request<unknown>(
        body === undefined ? { url, timeout } : { url, timeout, method: 'POST', data: body },
      );
      return reply.data;
    });
}
