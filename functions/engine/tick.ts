/** What is due? Advances every active rollout. While none is, that is one read, and nothing more is loaded for it. */
import type { TickSummary } from './advance.ts';
import { late } from './late.ts';
import type { Observing } from './observe.ts';
import { pagesOf } from './pages.ts';
import type { Ports } from './ports.ts';

/** What there is to do where something is active. */
export const advancing = late(() => import('./advance.ts'));

/**
 * Advances every active rollout by what is due now. What does not fit into one page is passed on to other instances first,
 * so that they work side by side, each on records of its own.
 * @param after only records after this key: those before it are somebody else's; null begins with the first
 */
export async function tick(ports: Ports, observing: Observing, after: string | null = null): Promise<TickSummary> {
  const summary: TickSummary = { active: 0, failed: 0 };
  for await (const page of pagesOf(ports, 'tick', after)) {
    if (page.length === 0) continue;
    const { advance } = await advancing();
    const { active, failed } = await advance(ports, page, observing);
    summary.active += active;
    summary.failed += failed;
  }
  return summary;
}
