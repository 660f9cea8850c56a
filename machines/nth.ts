/** What is at a place of a list? For places that the caller knows to be there, which the type does not. */

/** Throws a RangeError where nothing is: a mistake of ours is not to be counted as zero. */
export function nth<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new RangeError(`expected an index below ${list.length}, got ${index}`);
  return found;
}
