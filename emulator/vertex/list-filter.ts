/** Which of the listed resources does a filter mean? The part of AIP-160 that Vertex documents for its lists. */
import { WorldError } from '../world/world.ts';

export interface Filterable {
  id: string;
  displayName: string;
  labels: Record<string, string>;
}

const TERM = /^(?:(labels)\.("[^"]+"|[\w-]+)|(\w+))\s*(!=|=|:)\s*("[^"]*"|[^\s"]+)$/;
const LABEL_EXISTS = /^labels:("[^"]+"|[\w-]+)$/;

/**
 * Returns a predicate for `displayName="a" AND labels.k=v AND labels.k:*`. Throws INVALID_ARGUMENT for what it does not
 * understand.
 * @param idField name of the field that means the last segment of the resource name, such as `endpoint`
 */
export function listFilter(filter: string, idField: string): (item: Filterable) => boolean {
  if (filter.trim() === '') return () => true;
  const terms = filter.split(/\s+AND\s+/).map((term) => parseTerm(term.trim(), idField));
  return (item) => terms.every((matches) => matches(item));
}

/** Sorts as `order_by` asks: `display_name`, `create_time` or `update_time`, each maybe with `desc`. */
export function orderBy<T extends { displayName: string; createdAt: number; updatedAt: number }>(
  items: T[],
  order: string,
): T[] {
  const keys = order.split(',').flatMap((part) => (part.trim() === '' ? [] : [parseOrder(part.trim())]));
  return items.toSorted((a, b) => {
    for (const { field, sign } of keys) {
      if (a[field] !== b[field]) return a[field] < b[field] ? -sign : sign;
    }
    return 0;
  });
}

function parseTerm(term: string, idField: string): (item: Filterable) => boolean {
  const exists = LABEL_EXISTS.exec(term)?.[1];
  if (exists !== undefined) return (item) => unquoted(exists) in item.labels;
  const [, isLabel, label = '', field = '', operator = '', raw = ''] = TERM.exec(term) ?? [];
  const value = unquoted(raw);
  if (isLabel !== undefined) {
    const key = unquoted(label);
    if (operator === ':' && value === '*') return (item) => key in item.labels;
    if (operator === '=') return (item) => item.labels[key] === value;
  } else if (operator === '=' || operator === '!=') {
    const isWanted = operator === '=';
    if (field === idField) return (item) => (item.id === value) === isWanted;
    if (['display_name', 'displayName'].includes(field)) return (item) => (item.displayName === value) === isWanted;
  }
  throw new WorldError(
    'INVALID_ARGUMENT',
    `The filter "${term}" is not understood; expected ${idField}=…, display_name=…, labels.k=… or labels.k:*, joined by AND.`,
  );
}

function parseOrder(part: string): { field: 'displayName' | 'createdAt' | 'updatedAt'; sign: number } {
  const [name = '', direction = 'asc', ...rest] = part.split(/\s+/);
  const field = (
    {
      display_name: 'displayName',
      displayName: 'displayName',
      create_time: 'createdAt',
      createTime: 'createdAt',
      update_time: 'updatedAt',
      updateTime: 'updatedAt',
    } as const
  )[name];
  if (field === undefined || rest.length > 0 || (direction !== 'asc' && direction !== 'desc')) {
    throw new WorldError('INVALID_ARGUMENT', `order_by "${part}" is not understood.`);
  }
  return { field, sign: direction === 'desc' ? -1 : 1 };
}

function unquoted(text: string): string {
  return text.replace(/^"(.*)"$/, '$1');
}
