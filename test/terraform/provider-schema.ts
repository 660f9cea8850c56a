/** Which arguments and blocks does Google's provider know? Reads the notation of google-6.50.0.schema. */
import { readFileSync } from 'node:fs';

export type AttributeType = 'string' | 'number' | 'bool' | 'list' | 'map';

export interface Attribute {
  name: string;
  type: AttributeType;
  isRequired: boolean;
  isOptional: boolean;
  /** Set by Google where the configuration leaves it out. */
  isComputed: boolean;
}

export interface Block {
  attributes: Attribute[];
  blocks: { name: string; isRequired: boolean; isMany: boolean; block: Block }[];
}

export interface ProviderSchema {
  provider: Block;
  resources: Record<string, Block>;
  data: Record<string, Block>;
}

const ATTRIBUTE = /^(\w+)(?::(number|bool|list|map))?(!|=|\?)?$/;
const BLOCK = /^(\w+)(\[\])?(!)?\{$/;

/** Parses the schema. Throws on a word that is none of the notation. */
export function readSchema(path: string): ProviderSchema {
  const schema: ProviderSchema = { provider: { attributes: [], blocks: [] }, resources: {}, data: {} };
  const open: Block[] = [];
  const words = readFileSync(path, 'utf8').replaceAll(/^#.*$/gm, '').split(/\s+/).filter(Boolean).values();
  for (const word of words) {
    const current = open.at(-1);
    if (word === '}') open.pop();
    else if (current === undefined) {
      const [name, brace] = [String(words.next().value), words.next().value];
      if (brace !== '{') throw new Error(`${path}: expected "${word} NAME {", got "${word} ${name} ${brace}"`);
      open.push(topBlock(schema, word, name));
    } else if (!addAttribute(current, word)) open.push(addBlock(current, word));
  }
  return schema;
}

function topBlock(schema: ProviderSchema, kind: string, name: string): Block {
  const block: Block = { attributes: [], blocks: [] };
  if (kind === 'provider') schema.provider = block;
  else if (kind === 'resource') schema.resources[name] = block;
  else if (kind === 'data') schema.data[name] = block;
  else throw new Error(`Expected provider, resource or data, got "${kind}"`);
  return block;
}

function addAttribute(to: Block, word: string): boolean {
  const [, name, type = 'string', mark] = ATTRIBUTE.exec(word) ?? [];
  if (name === undefined) return false;
  to.attributes.push({
    name,
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the expression lets no other word through
    type: type as AttributeType,
    isRequired: mark === '!',
    isOptional: mark === undefined || mark === '?',
    isComputed: mark === '=' || mark === '?',
  });
  return true;
}

function addBlock(to: Block, word: string): Block {
  const [, name, many, required] = BLOCK.exec(word) ?? [];
  if (name === undefined) throw new Error(`Expected an attribute or a block of the schema, got "${word}"`);
  const block: Block = { attributes: [], blocks: [] };
  to.blocks.push({ name, isRequired: required !== undefined, isMany: many !== undefined, block });
  return block;
}
