import { describe, expect, it } from 'vitest';
import {
  endpointKey,
  isSameEndpoint,
  isSameModel,
  parseEndpointName,
  parseModelName,
} from '../../../machines/rollout/resource-name.ts';

const endpoint = 'projects/demo/locations/us-central1/endpoints/456';
const model = 'projects/demo/locations/us-central1/models/delays';
const known = { project: 'demo', location: 'us-central1' };

describe('a resource name', () => {
  it.each([
    [endpoint, { ...known, id: '456' }],
    ['projects/12/locations/us-central1/endpoints/my-endpoint', { ...known, project: '12', id: 'my-endpoint' }],
    [model, null],
    [`${endpoint}/deployedModels/1`, null],
    [`//aiplatform.googleapis.com/${endpoint}`, null],
    ['projects/demo/locations/us-central1/endpoints/', null],
    ['projects//locations/us-central1/endpoints/456', null],
    [`${endpoint}@1`, null],
    ['456', null],
  ])('of an endpoint: %s', (name, parsed) => {
    expect(parseEndpointName(name)).toEqual(parsed);
  });

  it.each([
    [model, { ...known, id: 'delays' }],
    [`${model}@2`, { ...known, id: 'delays' }],
    [`${model}@champion-1`, { ...known, id: 'delays' }],
    [`${model}@`, null],
    [endpoint, null],
    ['delays', null],
  ])('of a model: %s', (name, parsed) => {
    expect(parseModelName(name)).toEqual(parsed);
  });

  it('is of at most 63 letters, as Vertex has it', () => {
    const longest = 'e'.repeat(63);
    expect(parseEndpointName(`projects/p/locations/l/endpoints/${longest}`)?.id).toBe(longest);
    expect(parseEndpointName(`projects/p/locations/l/endpoints/${longest}e`)).toBeNull();
    expect(parseModelName(`projects/p/locations/l/models/${longest}`)?.id).toBe(longest);
    expect(parseModelName(`projects/p/locations/l/models/${longest}e`)).toBeNull();
  });
});

describe('the same resource', () => {
  it.each([
    ['whether the project is its id or its number', endpoint, endpoint.replace('demo', '12'), true],
    ['not in another location', endpoint, endpoint.replace('us-central1', 'europe-west1'), false],
    ['not by another id', endpoint, endpoint.replace('456', '457'), false],
    ['not by what is no name', endpoint, '456', false],
    ['not of two that are no names', '456', '456', false],
  ])('endpoint: %s', (_why, a, b, isSame) => {
    expect([isSameEndpoint(a, b), isSameEndpoint(b, a)]).toEqual([isSame, isSame]);
  });

  it.each([
    ['whether the project is its id or its number', model, model.replace('demo', '12'), true],
    ['whichever version is named', `${model}@1`, `${model}@2`, true],
    ['not in another location', model, model.replace('us-central1', 'europe-west1'), false],
    ['not by another id', model, model.replace('delays', 'fares'), false],
    ['not by what is no name', model, 'delays', false],
    ['not of two that are no names', 'delays', 'delays', false],
  ])('model: %s', (_why, a, b, isSame) => {
    expect([isSameModel(a, b), isSameModel(b, a)]).toEqual([isSame, isSame]);
  });
});

describe('the key of an endpoint', () => {
  it('is the same for the project’s id and its number', () => {
    expect(endpointKey(endpoint)).toBe('us-central1~456');
    expect(endpointKey(endpoint.replace('demo', '12'))).toBe('us-central1~456');
  });

  it('is none of what is no endpoint, which is said', () => {
    expect(() => endpointKey('456')).toThrow(new RangeError('"456" is not projects/P/locations/L/endpoints/E'));
  });
});
