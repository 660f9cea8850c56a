/** Which versions does a model have, and which one holds an alias? ModelsPort over the Model Registry. */
import { z } from 'zod';
import { PermanentError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import type { ModelsPort, ModelVersionView } from '../engine/ports.ts';
import type { Clients } from './clients.ts';
import { call, parseReply } from './status.ts';

const timestampSchema = z
  .object({ seconds: z.coerce.number(), nanos: z.number() })
  .transform(({ seconds, nanos }) => seconds * 1000 + Math.floor(nanos / 1e6));

const modelSchema = z.object({
  name: z.string().min(1),
  versionId: z.string().min(1),
  versionAliases: z.array(z.string()),
  labels: z.record(z.string(), z.string()),
  versionCreateTime: timestampSchema.nullish(),
  versionUpdateTime: timestampSchema.nullish(),
});

/** ModelsPort over the real Vertex AI client. */
export function vertexModels(clients: Clients): ModelsPort {
  async function read(model: string, versionOrAlias: string): Promise<ModelVersionView | null> {
    const resource = `${model}@${versionOrAlias}`;
    const name = `GetModel ${resource}`;
    try {
      const [reply] = await call(name, limits.callDeadlineMs, async (options) =>
        (await clients.models()).getModel({ name: resource }, options),
      );
      const version = parseReply(name, modelSchema, reply);
      return {
        model: version.name.replace(/@.*$/, ''),
        versionId: version.versionId,
        aliases: version.versionAliases,
        labels: version.labels,
        updatedAt: version.versionUpdateTime ?? version.versionCreateTime ?? 0,
      };
    } catch (error) {
      if (error instanceof PermanentError && error.code === 'notFound') return null;
      throw error;
    }
  }
  return { readVersion: read, readAlias: read };
}
