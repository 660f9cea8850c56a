/**
 * On which side of a two-endpoint rollout does a caller's user stay? One number from a hash decides, and sides are nested:
 * whoever is on the second side at some percentage is there at every greater one.
 */
import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { parseEndpointName } from '../../machines/rollout/resource-name.ts';
import type { ServedEndpoint } from './endpoints.ts';

/** Of a hundredth of a percent each. */
const buckets = 10_000;

export const pinHeader = 'x-rollouts-pin';

export const endpointNameSchema = z
  .string()
  .refine((name) => parseEndpointName(name) !== null, 'expected projects/P/locations/L/endpoints/E');

const ruleSchema = z.strictObject({
  /** The policy's name; its endpoint is the first side. */
  alias: z.string().min(1),
  /** The second side. */
  to: endpointNameSchema,
  /** Of the pins, on the second side; down to hundredths. */
  percent: z.number().min(0).max(100),
  /** What is pinned: a user that the header x-rollouts-pin names, or whoever calls. */
  by: z.enum(['header', 'caller']).default('header'),
  /** Another one shuffles who is first to move. */
  salt: z.string().max(100).optional(),
});

export const pinningConfigSchema = z
  .array(ruleSchema)
  .refine((rules) => new Set(rules.map(({ alias }) => alias)).size === rules.length, 'expected each alias once');

export type PinRule = z.infer<typeof ruleSchema>;

/** Who is asking, as far as pins go. */
export interface Asking {
  headers: IncomingHttpHeaders;
  /** The name of the caller's key or token. */
  caller: string;
}

/** Makes the choice of a side: the endpoint that serves who asks. Without a rule, or a pin, it is the policy's own. */
export function createPinning(rules: readonly PinRule[]): (target: ServedEndpoint, asking: Asking) => ServedEndpoint {
  const sides = new Map(rules.map((rule) => [rule.alias, { rule, name: parseEndpointName(rule.to) }]));
  return (target, { headers, caller }) => {
    const side = sides.get(target.policy.name);
    if (side === undefined || side.name === null) return target;
    const { rule, name } = side;
    const pin = rule.by === 'caller' ? caller : headers[pinHeader];
    if (typeof pin !== 'string' || pin === '') return target;
    const salt = rule.salt ?? `${rule.alias} ${rule.to}`;
    return isOnSecondSide(salt, pin, rule.percent) ? { policy: target.policy, endpoint: rule.to, name } : target;
  };
}

/** The same for the same salt and pin, everywhere and always. @param percent 0 to 100; hundredths count */
export function isOnSecondSide(salt: string, pin: string, percent: number): boolean {
  return bucketOf(salt, pin) < Math.round((percent / 100) * buckets);
}

/** 0 to 9999. Of 48 bits, so that no bucket is likelier than another by more than 1 in 10^10. */
function bucketOf(salt: string, pin: string): number {
  // JSON, so that no other salt and pin together spell the same.
  return hash('sha256', JSON.stringify([salt, pin]), 'buffer').readUIntBE(0, 6) % buckets;
}
