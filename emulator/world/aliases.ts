/** Which version of a model holds which alias? An alias is held by exactly one version at a time. */
import { nextEtag, type WorldContext } from './context.ts';
import { WorldError } from './errors.ts';
import type { Model, ModelVersion } from './state.ts';

const ALIAS = /^[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]$/;

/** Throws INVALID_ARGUMENT for what is no alias. */
export function checkAlias(alias: string): void {
  if (!ALIAS.test(alias)) {
    throw new WorldError('INVALID_ARGUMENT', `The version alias "${alias}" does not match ${ALIAS.source}.`);
  }
}

/**
 * Adds aliases to a version, and removes those with a leading `-`. An alias both added and removed stays as it is.
 * `default` can be moved to another version, but not removed.
 */
export function mergeAliases(context: WorldContext, model: Model, version: ModelVersion, changes: string[]): void {
  if (changes.length === 0) throw new WorldError('INVALID_ARGUMENT', 'version_aliases is empty.');
  const removed = changes.filter((change) => change.startsWith('-')).map((change) => change.slice(1));
  const added = changes.filter((change) => !change.startsWith('-'));
  for (const alias of [...added, ...removed]) checkAlias(alias);
  if (removed.includes('default') && !added.includes('default')) {
    throw new WorldError('INVALID_ARGUMENT', 'The alias "default" cannot be removed; give it to another version.');
  }
  version.aliases = version.aliases.filter((alias) => !removed.includes(alias) || added.includes(alias));
  takeAliases(
    context,
    model,
    version,
    added.filter((alias) => !removed.includes(alias)),
  );
}

/** Gives the aliases to this version, and so takes them from the others. */
export function takeAliases(context: WorldContext, model: Model, taker: ModelVersion, aliases: string[]): void {
  for (const version of model.versions) {
    const kept = version.aliases.filter((alias) => !aliases.includes(alias));
    const next = version === taker ? [...kept, ...aliases] : kept;
    if (version !== taker && next.length === version.aliases.length) continue;
    version.aliases = next;
    version.updatedAt = context.now();
    version.etag = nextEtag(context);
  }
  context.emit({ kind: 'changed' });
}
