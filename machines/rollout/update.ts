/** What do all updates share? */
import type { Context } from './context.ts';

export type Update = Partial<Context>;

/** What was owed is done, or is owed no more. */
export const noTrouble: Update = { attempts: 0, retryAt: null, lastProblem: null };

/** Who serves, without its replicas. */
export function servingModels(models: { id: string; model: string; versionId: string }[]): Context['stableModels'] {
  return models.map(({ id, model, versionId }) => ({ id, model, versionId }));
}
