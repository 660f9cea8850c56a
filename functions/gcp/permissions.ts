/**
 * What must each call to Google be allowed? The one list that Terraform's roles are held against, and that says what an
 * installation lacks. A port's new method does not compile without its line here.
 */
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import type { Ports } from '../engine/ports.ts';

/**
 * IAM permissions by the method of Google's client that is called; Firestore's by what the call does.
 * @see https://cloud.google.com/vertex-ai/docs/general/iam-permissions
 * @see https://cloud.google.com/firestore/docs/security/iam
 */
export const permissionsByCall = {
  getEndpoint: ['aiplatform.endpoints.get'],
  updateEndpoint: ['aiplatform.endpoints.update'],
  deployModel: ['aiplatform.endpoints.deploy'],
  undeployModel: ['aiplatform.endpoints.undeploy'],
  mutateDeployedModel: ['aiplatform.endpoints.deploy'],
  getOperation: ['aiplatform.endpoints.get'],
  cancelOperation: ['aiplatform.endpoints.deploy'],
  rawPredict: ['aiplatform.endpoints.predict'],
  getModel: ['aiplatform.models.get'],
  getModelDeploymentMonitoringJob: ['aiplatform.modelDeploymentMonitoringJobs.get'],
  searchModelDeploymentMonitoringStatsAnomalies: ['aiplatform.modelDeploymentMonitoringJobs.searchStatsAnomalies'],
  getModelMonitor: ['aiplatform.modelMonitors.get'],
  searchModelMonitoringStats: ['aiplatform.modelMonitors.searchModelMonitoringStats'],
  listTimeSeries: ['monitoring.timeSeries.list'],
  queryRange: ['monitoring.timeSeries.list'],
  // On the dataset also bigquery.tables.getData, which is not for the project to give.
  queryJob: ['bigquery.jobs.create'],
  getJob: ['cloudscheduler.jobs.get'],
  pauseJob: ['cloudscheduler.jobs.pause'],
  resumeJob: ['cloudscheduler.jobs.enable'],
  // Given on each topic, and not on the project.
  publishMessage: ['pubsub.topics.publish'],
  getDocument: ['datastore.entities.get'],
  queryDocuments: ['datastore.entities.get', 'datastore.entities.list'],
  createDocument: ['datastore.entities.create'],
  updateDocument: ['datastore.entities.update'],
  setDocument: ['datastore.entities.create', 'datastore.entities.update'],
} as const;

export type GoogleCall = keyof typeof permissionsByCall;

type PortName = Exclude<keyof Ports, 'now'>;

/** What each method of a port calls. Of metrics, what they always call: see `callsByCheck` for the rest. */
export const callsByPort: { [Port in PortName]: { [Method in keyof Ports[Port]]: readonly GoogleCall[] } } = {
  endpoints: {
    read: ['getEndpoint'],
    writeSplit: ['updateEndpoint'],
    deploy: ['deployModel'],
    undeploy: ['undeployModel'],
    resize: ['mutateDeployedModel'],
    readOperation: ['getOperation'],
    cancelOperation: ['cancelOperation'],
  },
  models: { readVersion: ['getModel'], readAlias: ['getModel'] },
  metrics: { read: ['listTimeSeries'] },
  bus: { publish: ['publishMessage'] },
  // Whether the service refused because there was nothing to do is asked with getJob.
  schedule: { pause: ['pauseJob', 'getJob'], resume: ['resumeJob', 'getJob'], isPaused: ['getJob'] },
  policies: { list: ['queryDocuments'] },
  store: {
    load: ['getDocument'],
    listActive: ['queryDocuments'],
    listAll: ['queryDocuments'],
    commit: ['createDocument', 'updateDocument', 'setDocument', 'getDocument'],
    isMarked: ['getDocument'],
    readRollout: ['getDocument'],
    listRollouts: ['queryDocuments'],
    listJournal: ['queryDocuments'],
    close: [],
  },
};

/** What a check's source calls, for whoever reads metrics. */
export const callsByCheck: Record<CheckPolicy['from']['kind'], readonly GoogleCall[]> = {
  filter: ['listTimeSeries'],
  promql: ['queryRange'],
  requestLog: ['queryJob'],
  modelMonitoring: [
    'getModelDeploymentMonitoringJob',
    'searchModelDeploymentMonitoringStatsAnomalies',
    'getModelMonitor',
    'searchModelMonitoringStats',
  ],
  reported: [],
};
