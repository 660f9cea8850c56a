/** Does a policy speak for this model? */
import { isSameModel, parseEndpointName, parseModelName } from '../rollout/resource-name.ts';
import type { Policy } from './policy.ts';

/**
 * True when a blessing of the model falls under the policy: by name (location and id, see resource-name.ts), or by
 * every label that the policy lists. A model serves only on endpoints of its own location, so any other never matches.
 */
export function matches(policy: Policy, blessed: { model: string; labels: Record<string, string> }): boolean {
  const location = parseModelName(blessed.model)?.location;
  if (location === undefined || location !== parseEndpointName(policy.endpoint)?.location) return false;
  const { match } = policy;
  if (match.kind === 'any') return true;
  if (match.kind === 'model') return isSameModel(match.model, blessed.model);
  return Object.entries(match.labels).every(([key, value]) => blessed.labels[key] === value);
}
