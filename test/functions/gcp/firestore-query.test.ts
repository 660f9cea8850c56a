/** What is made of Firestore's answers over REST, the bad ones above all? Good ones come from its emulator, in the store's tests. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { queryCollection } from '../../../functions/gcp/firestore-query.ts';

let close: () => Promise<unknown>;
afterEach(() => close());

/** Clients whose Firestore answers everything so; `asked` is what it was asked. */
async function answering(status: number, body: string): Promise<{ clients: Clients; asked: unknown[] }> {
  const asked: unknown[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    request.on('end', () => {
      asked.push([request.method, request.url, JSON.parse(text)]);
      response.writeHead(status).end(body);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const environment = {
    GOOGLE_CLOUD_PROJECT: 'p',
    ROLLOUT_LOCATION: 'l',
    FIRESTORE_EMULATOR_HOST: `127.0.0.1:${port}`,
  };
  const clients = googleClients(parseEnvironment(environment));
  close = () => {
    server.closeAllConnections();
    server.close();
    return clients.close();
  };
  return { clients, asked };
}

const documents = 'projects/p/databases/(default)/documents';
const query = { collection: 'c', field: 'data' };
const found = (name: string, more: object) => ({
  document: { name: `${documents}/c/${name}`, createTime: 'x', ...more },
});

test('one question gives the documents, their text and when they were written, to the nanosecond', async () => {
  const { clients, asked } = await answering(
    200,
    JSON.stringify([
      found('a~1', { fields: { data: { stringValue: '{}' } }, updateTime: '2026-01-31T12:00:00.012345Z' }),
      found('b', { fields: { data: { mapValue: {} } }, updateTime: '2026-01-31T12:00:01Z' }),
      found('c', { updateTime: '1969-12-31T23:59:59.000000001Z' }),
      { readTime: '2026-01-31T12:00:00Z' },
    ]),
  );
  expect(await queryCollection(clients, { ...query, where: 'isActive', after: 'a', limit: 2 })).toEqual([
    { id: 'a~1', value: '{}', revision: '1769860800.12345000' },
    { id: 'b', value: { mapValue: {} }, revision: '1769860801.0' },
    { id: 'c', value: undefined, revision: '-1.1' },
  ]);
  const structuredQuery = {
    select: { fields: [{ fieldPath: 'data' }] },
    from: [{ collectionId: 'c' }],
    where: { fieldFilter: { field: { fieldPath: 'isActive' }, op: 'EQUAL', value: { booleanValue: true } } },
    orderBy: [{ field: { fieldPath: '__name__' }, direction: 'ASCENDING' }],
    startAt: { values: [{ referenceValue: `${documents}/c/a` }], before: false },
    limit: 2,
  };
  expect(asked).toEqual([['POST', `/v1/${documents}:runQuery`, { structuredQuery }]]);
});

test.each([
  [
    503,
    '[{"error":{"code":503,"message":"come back","status":"UNAVAILABLE"}}]',
    'TransientError',
    'unavailable',
    'come back',
  ],
  [429, '{"error":{"message":"slower"}}', 'TransientError', 'resourceExhausted', 'slower'],
  [401, '{"error":{"message":"who?"}}', 'TransientError', 'unauthenticated', 'who?'],
  [403, '[{"error":{"message":"not you"}}]', 'PermanentError', 'permissionDenied', 'not you'],
  [404, '[{"error":{"message":"no such database"}}]', 'PermanentError', 'notFound', 'no such database'],
  [502, '<html>bad gateway', 'TransientError', 'unavailable', 'bad gateway'],
  [
    200,
    '[{"document":{"name":"c/a","updateTime":"2026-01-31T12:00:00Z"}},{"error":{"code":503,"message":"broke off"}}]',
    'TransientError',
    'unavailable',
    'broke off',
  ],
  [200, '<html>welcome to this network', 'PermanentError', 'internal', 'not what the API promises'],
  [200, '[{"document":{"name":7}}]', 'PermanentError', 'internal', 'not what the API promises'],
])('HTTP %i with %s is a %s, %s', async (status, body, name, code, text) => {
  const { clients } = await answering(status, body);
  await expect(queryCollection(clients, query)).rejects.toMatchObject({
    name,
    code,
    message: expect.stringContaining(text),
  });
});

test('a Firestore that is not there is unavailable', async () => {
  const { clients } = await answering(200, '[]');
  await close();
  await expect(queryCollection(clients, query)).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
});
