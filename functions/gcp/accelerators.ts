/**
 * Which accelerators does Vertex AI have? Asked of the API definition that its client ships and has loaded already. The
 * client itself would send a name it does not know as "unspecified", and the model would be deployed without one.
 */
import { createRequire } from 'node:module';
import { z } from 'zod';
import { PermanentError } from '../engine/errors.ts';

const namespaceSchema = z.object({ nested: z.record(z.string(), z.unknown()) });
const enumSchema = z.object({ values: z.record(z.string(), z.int()) });

/** The number of an accelerator such as `NVIDIA_L4`; PermanentError `invalidArgument` names those there are. */
export function acceleratorNumber(type: string): number {
  const { values } = enumSchema.parse(definitionOf('google.cloud.aiplatform.v1.AcceleratorType'));
  const number = values[type];
  if (number !== undefined && number !== 0) return number;
  const known = Object.keys(values).filter((name) => values[name] !== 0);
  throw new PermanentError('invalidArgument', `"${type}" is no accelerator of Vertex AI; expected ${known.join(', ')}`);
}

function definitionOf(path: string): unknown {
  const root: unknown = createRequire(import.meta.url)('@google-cloud/aiplatform/build/protos/protos.json');
  return path.split('.').reduce((node, name) => namespaceSchema.parse(node).nested[name], root);
}
