/** What must a function be allowed, by its code, and what is it allowed, by what was applied? */
import { topics } from '../../functions/engine/publish.ts';
import { callsByCheck, callsByPort, type GoogleCall, permissionsByCall } from '../../functions/gcp/permissions.ts';
import type { Applied } from './installation.ts';
import { ofType } from './laws.ts';
import { type Reached, reachedFrom } from './reached.ts';

/** The permissions that a function's code calls for, on the project. */
export function needed(name: string, sources: (keyof typeof callsByCheck)[]): string[] {
  const { members, names } = reached(name);
  const calls: GoogleCall[] = Object.entries(callsByPort).flatMap(([port, methods]) =>
    Object.entries(methods).flatMap(([method, made]) => (members.has(`${port}.${method}`) ? made : [])),
  );
  if (members.has('metrics.read'))
    calls.push(...callsByCheck.promql, ...sources.flatMap((source) => callsByCheck[source]));
  // The proxy speaks HTTP, with a token of its own.
  if (names.has('googleAccessTokens')) calls.push('rawPredict');
  const permissions = new Set<string>(calls.flatMap((call) => permissionsByCall[call]));
  permissions.delete('pubsub.topics.publish');
  return [...permissions].toSorted();
}

export function published(name: string): string[] {
  const { members } = reached(name);
  return Object.entries(topics)
    .flatMap(([key, topic]) => (members.has(`topics.${key}`) ? [topic] : []))
    .toSorted();
}

function reached(name: string): Reached {
  const isEvent = name.startsWith('on');
  const file = isEvent ? name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`) : `serve-${name}`;
  return reachedFrom(`functions/${file}.ts`, (path) => /^(machines\/|functions\/(gcp\/|wiring\.ts))/.test(path));
}

export function grantedTo(applied: Applied, name: string): string[] {
  const held = ofType(applied, 'google_project_iam_member')
    .filter(({ values }) => values['member'] === memberOf(applied, name))
    .map(({ values }) => values['role']);
  return ofType(applied, 'google_project_iam_custom_role')
    .filter(({ values }) => held.includes(values['name']))
    .flatMap(({ values }) => (Array.isArray(values['permissions']) ? values['permissions'].map(String) : []))
    .toSorted();
}

export function publishableBy(applied: Applied, name: string): string[] {
  return ofType(applied, 'google_pubsub_topic_iam_member')
    .filter(({ values }) => values['member'] === memberOf(applied, name) && values['role'] === 'roles/pubsub.publisher')
    .map(({ values }) => String(values['topic']))
    .toSorted();
}

export function memberOf(applied: Applied, name: string): unknown {
  return ofType(applied, 'google_service_account').find(({ key }) => key === name)?.values['member'];
}
