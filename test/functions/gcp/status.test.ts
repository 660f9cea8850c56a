import { expect, test } from 'vitest';
import { z } from 'zod';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { call, parseReply, translate } from '../../../functions/gcp/status.ts';

const grpc = (code: number, text: string) => Object.assign(new Error(`${code} ${text}`), { code });

test.each([
  [1, 'TransientError', 'cancelled'],
  [2, 'TransientError', 'internal'],
  [3, 'PermanentError', 'invalidArgument'],
  [4, 'TransientError', 'deadlineExceeded'],
  [5, 'PermanentError', 'notFound'],
  [6, 'PermanentError', 'alreadyExists'],
  [7, 'PermanentError', 'permissionDenied'],
  [8, 'TransientError', 'resourceExhausted'],
  [9, 'PermanentError', 'failedPrecondition'],
  [10, 'TransientError', 'conflict'],
  [11, 'PermanentError', 'invalidArgument'],
  [12, 'PermanentError', 'unimplemented'],
  [13, 'TransientError', 'internal'],
  [14, 'TransientError', 'unavailable'],
  [15, 'PermanentError', 'internal'],
  [16, 'TransientError', 'unauthenticated'],
])('gRPC status %i is a %s with the code %s', (status, name, code) => {
  expect(translate('GetEndpoint e', grpc(status, 'text of Google'))).toMatchObject({
    name,
    code,
    message: `GetEndpoint e: ${status} text of Google`,
  });
});

test.each([
  [404, 'PermanentError', 'notFound'],
  [409, 'TransientError', 'conflict'],
  [429, 'TransientError', 'resourceExhausted'],
  [503, 'TransientError', 'unavailable'],
])('HTTP status %i, as Gaxios throws it, is a %s with the code %s', (status, name, code) => {
  const asNumber = Object.assign(new Error('over REST'), { status, code: 'ERR_BAD_RESPONSE' });
  const asText = Object.assign(new Error('over REST'), { code: String(status) });
  expect(translate('x', asNumber)).toMatchObject({ name, code });
  expect(translate('x', asText)).toMatchObject({ name, code });
});

test('a broken network is healed by trying again, a fault of our own is not', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  expect(translate('x', refused)).toMatchObject({ name: 'TransientError', code: 'unavailable' });
  expect(translate('x', new TypeError('undefined is not a function'))).toMatchObject({ code: 'internal' });
  expect(translate('x', new TypeError('undefined is not a function'))).toBeInstanceOf(PermanentError);
  expect(translate('x', 'a thrown text')).toMatchObject({ code: 'internal', message: 'x: a thrown text' });
});

test('an error of ours passes a call unchanged', async () => {
  const error = new TransientError('conflict', 'as it was');
  await expect(call('x', 1000, () => Promise.reject(error))).rejects.toBe(error);
});

test('a call that ignores its deadline is given up on', async () => {
  const never = new Promise<never>(() => {});
  await expect(call('GetEndpoint e', 5, () => never)).rejects.toMatchObject({
    name: 'TransientError',
    code: 'deadlineExceeded',
    message: 'GetEndpoint e: no answer within 5 ms',
  });
});

test('the client is told the deadline, and not to try again by itself', async () => {
  expect(await call('x', 1234, (options) => Promise.resolve(options))).toEqual({ timeout: 1234, retry: null });
});

test('a reply that breaks the contract says where', () => {
  const schema = z.object({ trafficSplit: z.record(z.string(), z.int()) });
  expect(() => parseReply('GetEndpoint e', schema, { trafficSplit: { 1: 0.5 } })).toThrow(
    /^GetEndpoint e: the reply is not what the API promises: .*trafficSplit/s,
  );
});
