/**
 * Does the every-minute tick run? SchedulePort over Cloud Scheduler's job for ticks.
 *
 * A job that does not exist is reported as an error and is not fatal: rollouts then advance with the reconcile job, every
 * ten minutes, and a rollback by an operator or by evidence does not wait for either.
 */
import type { CloudSchedulerClient } from '@google-cloud/scheduler/build/src/v1/cloud_scheduler_client.js';
import type { CallOptions } from 'google-gax';
import { z } from 'zod';
import type { Environment } from '../engine/environment.ts';
import { PermanentError, TransientError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { SchedulePort } from '../engine/ports.ts';
import type { Clients } from './clients.ts';
import { call, parseReply } from './status.ts';

/** gRPC gives an enum by its name, or by its number where the name is newer than the client. */
const jobSchema = z.object({ state: z.union([z.string(), z.number()]).transform(String) });

/** SchedulePort on the job `environment.tickJob`, in the project and region of the endpoints. */
export function tickSchedule(clients: Clients, environment: Environment): SchedulePort {
  const { project, location, tickJob } = environment;
  const job = `projects/${project}/locations/${location}/jobs/${tickJob}`;

  function ask<T>(name: string, act: (client: CloudSchedulerClient, options: CallOptions) => Promise<T>): Promise<T> {
    return call(name, limits.callDeadlineMs, async (options) => act(await clients.scheduler(), options));
  }

  /** Null, and a line in the log, when there is no such job. */
  async function state(): Promise<string | null> {
    try {
      const [reply] = await ask(`GetJob ${job}`, (client, options) => client.getJob({ name: job }, options));
      return parseReply(`GetJob ${job}`, jobSchema, reply).state;
    } catch (error) {
      if (codeOf(error) !== 'notFound') throw error;
      log('ERROR', `There is no scheduler job ${job}, so rollouts advance only at each reconcile: run terraform apply`);
      return null;
    }
  }

  /** The service refuses to pause what is paused, and to resume what runs; then the job's state says whether all is well. */
  async function bring(wanted: 'PAUSED' | 'ENABLED', act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'failedPrecondition' && code !== 'notFound') throw error;
      const found = await state();
      if (found === null || found === wanted) return;
      // Refused because it was so already, and changed by somebody since: to be tried again.
      throw new TransientError('conflict', `${job} was ${found} when it was to be ${wanted}; somebody else changes it`);
    }
  }

  return {
    pause: () =>
      bring('PAUSED', () => ask(`PauseJob ${job}`, (client, options) => client.pauseJob({ name: job }, options))),
    resume: () =>
      bring('ENABLED', () => ask(`ResumeJob ${job}`, (client, options) => client.resumeJob({ name: job }, options))),
    isPaused: async () => (await state()) !== 'ENABLED',
  };
}

function codeOf(error: unknown): string | null {
  return error instanceof PermanentError ? error.code : null;
}
