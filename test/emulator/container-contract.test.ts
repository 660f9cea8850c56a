import { expect, test } from 'vitest';
import { expand, planContainer } from '../../emulator/container-contract.ts';

const spec = {
  imageUri: 'image',
  command: ['node', 'serve.js'],
  args: ['--port=$(AIP_HTTP_PORT)', '$(GREETING)'],
  env: [
    { name: 'NAME', value: 'world' },
    { name: 'GREETING', value: 'hello $(NAME)' },
  ],
  ports: [{ containerPort: 8080 }],
  predictRoute: '',
  healthRoute: '/health',
  deploymentTimeoutSeconds: null,
};
const order = {
  endpoint: 'projects/123/locations/us-central1/endpoints/456',
  deployedModelId: '7',
  spec,
  artifactUri: 'gs://bucket/weights',
  machineType: 'n1-standard-2',
};

test('a container gets the environment that Vertex promises, and its own', () => {
  const { command, args, env } = planContainer(order, 9000);
  expect(command).toBe(process.execPath);
  expect(args).toEqual(['serve.js', '--port=9000', 'hello world']);
  expect(env).toMatchObject({
    AIP_HTTP_PORT: '9000',
    AIP_HEALTH_ROUTE: '/health',
    AIP_PREDICT_ROUTE: '/v1/endpoints/456/deployedModels/7:predict',
    AIP_STORAGE_URI: 'gs://bucket/weights',
    AIP_ENDPOINT_ID: '456',
    AIP_DEPLOYED_MODEL_ID: '7',
    AIP_PROJECT_NUMBER: '123',
    AIP_MODE: 'PREDICTION',
    GREETING: 'hello world',
  });
});

test("a container does not see the emulator's own environment", () => {
  expect(Object.keys(planContainer(order, 9000).env)).not.toContain('npm_lifecycle_event');
  expect(planContainer(order, 9000).env['PATH']).toBe(process.env['PATH']);
});

test('references are expanded as Kubernetes does', () => {
  const env = { A: '1' };
  expect(expand('$(A)-$(B)-$$(A)-$A', env)).toBe('1-$(B)-$(A)-$A');
});
