/** What is asked, and what does the model answer? One small prediction, as most are. */
export const endpoint = 'projects/demo/locations/us-central1/endpoints/456';
export const path = `/v1/${endpoint}:predict`;
export const key = 'correct horse battery staple';
export const headers = { 'content-type': 'application/json', 'x-goog-api-key': key };
export const body = JSON.stringify({
  instances: [{ carrier: 'WN', origin: 'LAX', destination: 'SFO', hour: 17, distance: 337, delayBefore: 12 }],
});
export const answer = '{"predictions":[{"probability":0.4182,"minutes":21.5}]}';
export const answerHeaders = {
  'content-type': 'application/json',
  'x-vertex-ai-endpoint-id': '456',
  'x-vertex-ai-deployed-model-id': '7',
  'x-vertex-ai-model': 'projects/1/locations/us-central1/models/delays',
  'x-vertex-ai-model-version-id': '3',
};
