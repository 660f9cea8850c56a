/** Is a path the same, however often it was asked for, and with whatever query? */
import { expect, it } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import { parseProxyPath } from '../../../functions/proxy/path.ts';

const named = (id: string) => ({ kind: 'endpoint', location: 'us-central1', id, verb: 'predict' });
const pathOf = (id: string) => `/v1/projects/p/locations/us-central1/endpoints/${id}:predict`;

it('is read anew, and known, past as many as are kept', () => {
  for (let round = 0; round < 2; round += 1) {
    for (let id = 0; id <= limits.parsedPathsMax; id += 1) {
      expect(parseProxyPath(pathOf(String(id)))).toEqual(named(String(id)));
      expect(parseProxyPath(`${pathOf(String(id))}?key=${round}`)).toEqual(named(String(id)));
    }
  }
});

it('is nothing where nothing is served, the second time too', () => {
  for (const target of ['/', '/v1/endpoints/delays:explain', '/v1/endpoints/%:predict', '/v1/endpoints/a/b:predict']) {
    expect([parseProxyPath(target), parseProxyPath(target)]).toEqual([null, null]);
  }
});

it('means what its percent-encoding says', () => {
  const alias = { kind: 'alias', alias: 'delays', verb: 'rawPredict' };
  expect(parseProxyPath('/v1/endpoints/delays:rawPredict')).toEqual(alias);
  expect(parseProxyPath('/v1/endpoints/%64elays%3ArawPredict')).toEqual(alias);
});
