/** Does the metric find the lines that the proxy writes? */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { createAnswerCounts } from '../../functions/proxy/answer-counts.ts';
import { captureLog } from '../log.ts';

const logged = captureLog();

it("the metric's filter and fields are those of the proxy's lines", () => {
  const counts = createAnswerCounts();
  counts.count('projects/p/locations/l/endpoints/e', '7', 200);
  counts.flush();
  const line: Record<string, unknown> = JSON.parse(logged[0] ?? '');
  const text = readFileSync(new URL('../../terraform/metrics.tf', import.meta.url), 'utf8');
  expect(text).toContain(`jsonPayload.message=\\"${String(line['message'])}\\"`);
  const fields = [...text.matchAll(/EXTRACT\(jsonPayload\.(\w+)\)/g)].map(([, field]) => field ?? '');
  expect(fields.toSorted()).toEqual(['answers', 'code', 'deployedModelId', 'endpoint']);
  for (const field of fields) expect(line).toHaveProperty(field);
});
