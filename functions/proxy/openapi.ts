/** What does the proxy serve? The same description for people and for generators, open at GET /openapi.json. */
import { limits } from '../engine/limits.ts';
import { pinHeader } from './pin.ts';
import { deployedModelIdPattern } from '../engine/deployed-model-id.ts';

const error = (description: string) => ({
  description,
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
});

const text = (description: string) => ({ description, schema: { type: 'string' } });

const tryLater = (description: string) => ({
  ...error(description),
  headers: { 'retry-after': text('Seconds to wait before asking again. An answer of the upstream may come without.') },
});

const errors = {
  400: error('The model cannot read the request.'),
  401: { ...error('No valid key or token was sent.'), headers: { 'www-authenticate': text('How to say who calls.') } },
  403: error('The caller is known, but may not use this endpoint.'),
  404: error('No policy names this endpoint.'),
  405: error('The path wants another method.'),
  408: error('The body came too slowly.'),
  413: error('The body is too large.'),
  431: error('A header that would go to the model is too long.'),
  429: tryLater('The caller asks more often than it may, or the upstream has too much to do.'),
  500: error('The model failed.'),
  502: error('The upstream broke off, refused the proxy, or gave an answer that :predict cannot carry.'),
  503: tryLater(
    'The upstream cannot be reached, has no capacity, or fails on nearly everything; or the proxy is full.',
  ),
  504: error('No whole answer in time.'),
};

/** Of a model that is passed on as it is, any of these may be the model's own answer, in its own words. */
const anyBody = { '*/*': { schema: {} } };
const rawErrors = Object.fromEntries(
  Object.entries(errors).map(([code, described]) => [code, { ...described, content: anyBody }]),
);

const servedByHeaders = {
  'x-vertex-ai-deployed-model-id': {
    description: 'The DeployedModel that answered.',
    schema: { type: 'string' },
  },
};

const pinned = {
  parameters: [{ name: pinHeader, in: 'header', ...text('Whom to keep on one side of a rollout over two endpoints.') }],
};

const rawResponses = {
  200: { description: "The model's answer.", headers: servedByHeaders, content: anyBody },
  ...rawErrors,
  default: { description: "The model's answer, with a status of its own.", headers: servedByHeaders, content: anyBody },
};

const operations = {
  predict: {
    summary: 'Predict',
    description: 'Answers as Vertex AI does, without `modelDisplayName`.',
    requestBody: {
      required: true,
      content: { 'application/json': { schema: { $ref: '#/components/schemas/PredictRequest' } } },
    },
    responses: {
      200: {
        description: 'Predictions, and who made them.',
        headers: { ...servedByHeaders, 'x-rollouts-cache': text('`hit` when the answer was given before.') },
        content: { 'application/json': { schema: { $ref: '#/components/schemas/PredictResponse' } } },
      },
      ...errors,
      default: {
        description: 'The model answered with a status of its own.',
        headers: servedByHeaders,
        content: {
          'application/json': {
            schema: {
              anyOf: [{ $ref: '#/components/schemas/Error' }, { $ref: '#/components/schemas/PredictResponse' }],
            },
          },
        },
      },
    },
  },
  rawPredict: {
    summary: 'Predict, with any body',
    description: "Passes the model's own status, type and bytes on, those of its errors included.",
    requestBody: { content: anyBody },
    responses: rawResponses,
  },
  streamRawPredict: {
    summary: 'Predict, with any body, and an answer that streams',
    description: 'As rawPredict; what the model sends is passed on at once.',
    requestBody: { content: anyBody },
    responses: rawResponses,
  },
  report: {
    summary: 'Report outcomes',
    description:
      "What became of predictions, for the checks of the endpoint's policy that clients report. Counted whole or not at all.",
    requestBody: {
      required: true,
      content: {
        'application/json': {
          schema: { oneOf: [{ $ref: '#/components/schemas/Report' }, { $ref: '#/components/schemas/ReportList' }] },
        },
      },
    },
    responses: {
      200: { description: 'Counted.', content: { 'application/json': { schema: { type: 'object' } } } },
      400: error('No such check, an outcome of the wrong type, or no report at all.'),
      401: errors[401],
      403: errors[403],
      404: errors[404],
      405: errors[405],
      408: errors[408],
      413: errors[413],
      431: errors[431],
      415: error('The body is compressed.'),
      429: tryLater('The caller asks more often than it may, or too many DeployedModels are reported of at once.'),
      503: tryLater('The list of endpoints cannot be read, or the proxy is full.'),
    },
  },
};

const pathText = (name: string, description: string) => ({
  name,
  in: 'path',
  required: true,
  description,
  schema: { type: 'string' },
});

const long = {
  path: '/v1/projects/{project}/locations/{location}/endpoints/{endpoint}',
  parameters: [
    pathText('project', 'Id or number of the project.'),
    pathText('location', 'Region of the endpoint, such as us-central1.'),
    pathText('endpoint', 'Id of the endpoint.'),
  ],
};

const short = {
  path: '/v1/endpoints/{alias}',
  parameters: [pathText('alias', 'Name of the policy that names the endpoint.')],
};

const paths = Object.fromEntries(
  [long, short].flatMap(({ path, parameters }) =>
    Object.entries(operations).map(([verb, operation]) => [
      `${path}:${verb}`,
      { parameters, post: { ...pinned, ...operation } },
    ]),
  ),
);

/** The OpenAPI 3.1 document, as JSON text. */
export const openapi: string = JSON.stringify({
  openapi: '3.1.0',
  info: {
    title: 'Vertex Rollouts prediction proxy',
    version: '1',
    description:
      'The prediction methods of the Vertex AI REST API, for clients outside Google Cloud, and their reports.',
  },
  security: [{ key: [] }, { token: [] }],
  paths: {
    ...paths,
    '/openapi.json': {
      get: {
        summary: 'This document',
        security: [],
        responses: { 200: { description: 'OpenAPI 3.1.', content: { 'application/json': { schema: {} } } } },
      },
    },
  },
  components: {
    securitySchemes: {
      key: { type: 'apiKey', in: 'header', name: 'x-goog-api-key' },
      token: {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'JWT',
        description: 'Of an issuer that is accepted here.',
      },
    },
    schemas: {
      PredictRequest: {
        type: 'object',
        required: ['instances'],
        properties: { instances: { type: 'array', items: {} }, parameters: {} },
      },
      PredictResponse: {
        type: 'object',
        description: "The model's own object, which holds `predictions` if the model knows Vertex AI, and who served.",
        properties: {
          predictions: {},
          deployedModelId: { type: 'string' },
          model: { type: 'string' },
          modelVersionId: { type: 'string' },
        },
      },
      Report: {
        type: 'object',
        required: ['deployedModelId', 'outcomes'],
        additionalProperties: false,
        properties: {
          deployedModelId: { type: 'string', pattern: deployedModelIdPattern.source },
          outcomes: {
            type: 'object',
            description:
              'By the name of the check: true is a hit of a rate, false a trial without one; a number is a value.',
            minProperties: 1,
            additionalProperties: { type: ['boolean', 'number'] },
          },
        },
      },
      ReportList: {
        type: 'object',
        required: ['reports'],
        additionalProperties: false,
        properties: {
          reports: {
            type: 'array',
            minItems: 1,
            maxItems: limits.reportsMax,
            items: { $ref: '#/components/schemas/Report' },
          },
        },
      },
      Error: {
        type: 'object',
        required: ['error'],
        properties: {
          error: {
            type: 'object',
            required: ['code', 'message', 'status'],
            properties: {
              code: { type: 'integer' },
              message: { type: 'string' },
              status: { type: 'string' },
            },
          },
        },
      },
    },
  },
});
