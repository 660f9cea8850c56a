/** The benchmark's Cloud Functions: an answer without an upstream, what a user would write, and ours. */
import { http } from '@google-cloud/functions-framework';
import { request as ask } from 'undici';
import { takeOverServer } from '../../../functions/proxy/server.ts';
import { ours } from './ours.ts';
import { answer } from './request.ts';

const upstream = process.env['UPSTREAM'] ?? '';

http('alone', (_request, response) => {
  response.type('application/json').send(answer);
});

http('naive', async (request, response) => {
  const { statusCode, headers, body } = await ask(`${upstream}${request.url}`, {
    method: 'POST',
    headers: { 'content-type': request.get('content-type') ?? 'application/json', authorization: 'Bearer ya29.token' },
    body: request.rawBody ?? null,
  });
  response.status(statusCode);
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) response.setHeader(name, value);
  body.pipe(response);
});

if (process.argv.includes('--target=ours')) {
  const predict = ours(upstream);
  http('ours', predict);
  takeOverServer(predict);
}
