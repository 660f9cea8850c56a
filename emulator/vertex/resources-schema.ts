/** What machines does a DeployedModel ask for? Its resources as they come on the wire, and their update mask. */
import { z } from 'zod';
import type { Resources } from '../world/state.ts';
import { WorldError } from '../world/world.ts';
import { fields } from './handlers.ts';

const machineTypeDefault = 'n1-standard-2';
const autoscalingTargetDefault = 60;

const replicas = { minReplicaCount: fields.int, maxReplicaCount: fields.int };

export const dedicatedSchema = z.strictObject({
  machineSpec: z
    .strictObject({ machineType: fields.text, acceleratorType: fields.text, acceleratorCount: fields.int })
    .default({ machineType: '', acceleratorType: '', acceleratorCount: 0 }),
  ...replicas,
  requiredReplicaCount: fields.int,
  autoscalingMetricSpecs: z
    .array(z.strictObject({ metricName: z.string(), target: z.int().default(autoscalingTargetDefault) }))
    .default([]),
  spot: fields.flag,
});
export const automaticSchema = z.strictObject(replicas);

type Wire = {
  dedicatedResources?: z.infer<typeof dedicatedSchema> | undefined;
  automaticResources?: z.infer<typeof automaticSchema> | undefined;
};

/** Throws INVALID_ARGUMENT without exactly one kind of resources. An absent maximum is the minimum. */
export function toResources({ dedicatedResources, automaticResources }: Wire): Resources {
  const given = dedicatedResources ?? automaticResources;
  if (given === undefined) {
    throw new WorldError('INVALID_ARGUMENT', 'deployed_model needs dedicated_resources or automatic_resources.');
  }
  const isDedicated = dedicatedResources !== undefined;
  if (isDedicated && given.minReplicaCount < 1) {
    throw new WorldError('INVALID_ARGUMENT', 'dedicated_resources.min_replica_count must be at least 1.');
  }
  const minReplicaCount = given.minReplicaCount || 1;
  return {
    kind: isDedicated ? 'dedicated' : 'automatic',
    machineType: isDedicated ? dedicatedResources.machineSpec.machineType || machineTypeDefault : '',
    acceleratorType: dedicatedResources?.machineSpec.acceleratorType ?? '',
    acceleratorCount: dedicatedResources?.machineSpec.acceleratorCount ?? 0,
    minReplicaCount,
    maxReplicaCount: given.maxReplicaCount || minReplicaCount,
    requiredReplicaCount: dedicatedResources?.requiredReplicaCount ?? 0,
    autoscalingMetricSpecs: dedicatedResources?.autoscalingMetricSpecs ?? [],
    spot: dedicatedResources?.spot ?? false,
  };
}

type Change = Partial<Resources> & { disableContainerLogging?: boolean };

/** Returns what an update mask picks; throws INVALID_ARGUMENT for paths that MutateDeployedModel cannot change. */
export function toChange(wire: Wire & { disableContainerLogging: boolean }, paths: string[]): Change {
  if (paths.length === 0) throw new WorldError('INVALID_ARGUMENT', 'update_mask is required.');
  const { dedicatedResources: dedicated, automaticResources: automatic } = wire;
  const change: Change = {};
  for (const path of paths) {
    switch (path.replace(/^(dedicated|automatic)_resources\./, '')) {
      case 'min_replica_count':
        change.minReplicaCount = (dedicated ?? automatic)?.minReplicaCount ?? 0;
        break;
      case 'max_replica_count':
        change.maxReplicaCount = (dedicated ?? automatic)?.maxReplicaCount ?? 0;
        break;
      case 'required_replica_count':
        change.requiredReplicaCount = dedicated?.requiredReplicaCount ?? 0;
        break;
      case 'autoscaling_metric_specs':
        change.autoscalingMetricSpecs = dedicated?.autoscalingMetricSpecs ?? [];
        break;
      case 'disable_container_logging':
        change.disableContainerLogging = wire.disableContainerLogging;
        break;
      default:
        throw new WorldError('INVALID_ARGUMENT', `update_mask "${path}" cannot be changed by MutateDeployedModel.`);
    }
  }
  return change;
}
