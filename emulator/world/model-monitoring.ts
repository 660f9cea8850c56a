/**
 * Which deviations did Model Monitoring find? The world does not see what is predicted and computes no statistics: a
 * test plants them, and they are found as Vertex's own would be.
 */
import { nextEtag, type WorldContext } from './context.ts';
import { findEndpoint } from './endpoints.ts';
import { WorldError } from './errors.ts';
import { resolveVersion } from './models.ts';
import { canonicalName, locationName } from './names.ts';
import type { JobDeviation, ModelMonitor, MonitorDeviation, MonitoringJob } from './state.ts';

const MONITOR_ID = /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export type JobSettings = Omit<MonitoringJob, 'name' | 'createdAt' | 'deviations'>;
export type MonitorSettings = Omit<ModelMonitor, 'name' | 'createdAt' | 'deviations'>;

/** What a test plants: of a job (Model Monitoring v1), or of a monitor (v2). */
export type PlantedDeviation = ({ job: string } & JobDeviation) | ({ monitor: string } & MonitorDeviation);

/** Adds a ModelDeploymentMonitoringJob, which runs at once; throws NOT_FOUND when its endpoint does not exist. */
export function createMonitoringJob(context: WorldContext, parent: string, settings: JobSettings): MonitoringJob {
  const id = 4_000_000_000_000_000_000n + BigInt(context.nextNumber());
  const name = `${locationName(context, parent)}/modelDeploymentMonitoringJobs/${id}`;
  const { name: endpoint } = findEndpoint(context, settings.endpoint);
  const job: MonitoringJob = { ...settings, name, endpoint, createdAt: context.now(), deviations: [] };
  context.state.monitoringJobs[name] = job;
  context.emit({ kind: 'changed' });
  return job;
}

/** Throws NOT_FOUND. */
export function findMonitoringJob(context: WorldContext, name: string): MonitoringJob {
  const job = context.state.monitoringJobs[canonicalName(context, name)];
  if (job === undefined) throw new WorldError('NOT_FOUND', `The ModelDeploymentMonitoringJob ${name} does not exist.`);
  return job;
}

/** Returns the jobs of a location, oldest first. */
export function listMonitoringJobs(context: WorldContext, parent: string): MonitoringJob[] {
  const prefix = `${locationName(context, parent)}/`;
  return Object.values(context.state.monitoringJobs).filter(({ name }) => name.startsWith(prefix));
}

/** Adds a ModelMonitor. An empty id lets the world choose one. Throws NOT_FOUND when the version does not exist. */
export function createModelMonitor(
  context: WorldContext,
  parent: string,
  settings: MonitorSettings,
  id: string,
): ModelMonitor {
  if (id !== '' && !MONITOR_ID.test(id)) {
    throw new WorldError('INVALID_ARGUMENT', `model_monitor_id "${id}" is not a letter and up to 62 of [a-z0-9-].`);
  }
  const name = `${locationName(context, parent)}/modelMonitors/${id || nextEtag(context).toLowerCase()}`;
  if (context.state.modelMonitors[name] !== undefined) {
    throw new WorldError('ALREADY_EXISTS', `The ModelMonitor ${name} exists already.`);
  }
  const { model } = resolveVersion(context, `${settings.model}@${settings.versionId}`);
  const monitor: ModelMonitor = { ...settings, name, model: model.name, createdAt: context.now(), deviations: [] };
  context.state.modelMonitors[name] = monitor;
  context.emit({ kind: 'changed' });
  return monitor;
}

/** Throws NOT_FOUND. */
export function findModelMonitor(context: WorldContext, name: string): ModelMonitor {
  const monitor = context.state.modelMonitors[canonicalName(context, name)];
  if (monitor === undefined) throw new WorldError('NOT_FOUND', `The ModelMonitor ${name} does not exist.`);
  return monitor;
}

/** Adds deviations to the jobs and monitors that they name; throws NOT_FOUND, with nothing planted, when one is not there. */
export function plantDeviations(context: WorldContext, planted: PlantedDeviation[]): void {
  const plantings = planted.map((one) => {
    if ('job' in one) {
      const { job, ...deviation } = one;
      const { deviations } = findMonitoringJob(context, job);
      return () => deviations.push(deviation);
    }
    const { monitor, ...deviation } = one;
    const { deviations } = findModelMonitor(context, monitor);
    return () => deviations.push(deviation);
  });
  for (const plant of plantings) plant();
  context.emit({ kind: 'changed' });
}
