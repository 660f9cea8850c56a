/** Do Google's own clients work with only the host changed? PredictionServiceClient over REST, and plain fetch as Google shows it. */
import { helpers } from '@google-cloud/aiplatform';
import { PredictionServiceClient } from '@google-cloud/aiplatform/build/src/v1/prediction_service_client.js';
import { GoogleAuth } from 'google-auth-library';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { endpoint, goodKey, type Model, servedBySeven, startWorld, type World } from './proxy/proxy-world.ts';

const flight = { carrier: 'WN', hour: 17, tags: ['a', 'b'], isLate: true };
const questionSchema = z.object({ instances: z.array(z.looseObject({ hour: z.number().optional() })) });

/** Answers with what it was asked, so that both ways of the conversion are seen; to an hour that is none, as models do. */
const echo: Model = ({ body }, response) => {
  const { instances } = questionSchema.parse(JSON.parse(body.toString()));
  if (instances.some(({ hour }) => hour !== undefined && hour > 23)) {
    response.writeHead(400, { 'content-type': 'text/plain', ...servedBySeven }).end('hour must be below 24');
    return;
  }
  response.writeHead(200, { 'content-type': 'application/json', ...servedBySeven });
  response.end(JSON.stringify({ predictions: instances }));
};

let world: World;
let client: PredictionServiceClient;

/** As a project would make it, but for where it asks. The key is one of ours, in the header in which Google's go. */
function clientOf(apiKey: string): PredictionServiceClient {
  const { hostname, port } = new URL(world.origin);
  const auth = new GoogleAuth({ apiKey });
  return new PredictionServiceClient({
    fallback: true,
    protocol: 'http',
    apiEndpoint: hostname,
    port: Number(port),
    auth,
  });
}

const valuesOf = (instance: object) => [helpers.toValue(instance) ?? {}];

beforeAll(async () => {
  world = await startWorld(echo);
  // It reads megabytes of descriptions when it is made, so all tests use one.
  client = clientOf(goodKey);
});

afterAll(async () => {
  await client.close();
  await world[Symbol.asyncDispose]();
});

describe("Google's PredictionServiceClient over REST", () => {
  it('predicts, whichever name of the project it uses, and reads who served', async () => {
    for (const name of [endpoint, 'projects/12345/locations/us-central1/endpoints/456']) {
      const [answer] = await client.predict({ endpoint: name, instances: valuesOf(flight) });
      expect(answer).toMatchObject({
        deployedModelId: '7',
        model: servedBySeven['x-vertex-ai-model'],
        modelVersionId: '3',
      });
      expect(answer.predictions).toMatchObject(valuesOf(flight));
    }
    for (const { headers } of world.received) expect(headers).not.toHaveProperty('x-goog-api-key');
  });

  it('is told in its own codes of an endpoint that no policy names, and of a key that nobody was given', async () => {
    const instances = valuesOf(flight);
    await expect(client.predict({ endpoint: `${endpoint}7`, instances })).rejects.toMatchObject({ code: 5 });
    const stranger = clientOf('wrong');
    await expect(stranger.predict({ endpoint, instances })).rejects.toMatchObject({ code: 16 });
    await stranger.close();
  });

  it("is told of a model's failure in the words of the model", async () => {
    await expect(client.predict({ endpoint, instances: valuesOf({ hour: 25 }) })).rejects.toMatchObject({
      code: 3,
      message: expect.stringContaining('hour must be below 24'),
    });
  });
});

describe('plain fetch', () => {
  it.for(['predict', 'rawPredict', 'streamRawPredict'])(
    'asks :%s as the documentation of Vertex AI does',
    async (verb) => {
      const answer = await fetch(`${world.origin}/v1/${endpoint}:${verb}`, {
        method: 'POST',
        headers: { 'x-goog-api-key': goodKey, 'Content-Type': 'application/json; charset=utf-8' },
        body: JSON.stringify({ instances: [flight] }),
      });
      expect(answer.status).toBe(200);
      expect(await answer.json()).toMatchObject({ predictions: [flight] });
    },
  );
});
