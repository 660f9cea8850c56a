/** The prediction proxy of this process. What its first caller would wait for is asked for first; then all else loads. */
import { setImmediate } from 'node:timers/promises';
import { askedAhead } from './proxy/policies-ahead.ts';
import { wiredProxy } from './wiring.ts';

const wiring = wiredProxy();
const policies = askedAhead(wiring.ports.policies, wiring.ports.now);
// The first question leaves, Firestore's or that for the token before it: to load code stops everything else.
await setImmediate();
const { openPredict } = await import('./open-predict.ts');

export const predict = await openPredict({ ...wiring, ports: { ...wiring.ports, policies } });
