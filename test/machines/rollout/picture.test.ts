import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createMachine, setup } from 'xstate';
import { dutiesOf, mermaidOf, tableOf } from '../../../machines/rollout/picture.ts';
import { rolloutMachine } from '../../../machines/rollout/statechart.ts';
import { command, statechartFile, statechartPage } from '../../picture.ts';

const small = setup({
  guards: { isRed: () => true, endsAs: (_args, _params: { state: string }) => true },
  actions: { note: () => undefined },
}).createMachine({
  id: 'small',
  type: 'parallel',
  states: {
    work: {
      initial: 'group',
      states: {
        group: {
          initial: 'first',
          on: { pause: '.first', abort: { guard: { type: 'isRed' }, target: 'done' }, remark: { actions: 'note' } },
          states: {
            first: { meta: { owes: 'look' }, on: { next: 'second' } },
            second: { always: { guard: { type: 'endsAs', params: { state: 'done' } }, target: '#done' } },
          },
        },
        done: { id: 'done', type: 'final' },
      },
    },
    light: { initial: 'on', states: { on: { on: { flip: 'off' } }, off: {} } },
  },
});

describe('the picture of a machine', () => {
  test('draws groups, regions, labels and ends, and leaves out arrows that stay', () => {
    expect(mermaidOf(small).split('\n')).toEqual([
      'stateDiagram-v2',
      '  state small {',
      '    state work {',
      '      [*] --> group',
      '      state group {',
      '        [*] --> first',
      '        second --> first: pause',
      '        first --> second: next',
      '      }',
      '      group --> done: abort [isRed]<br/>second: [endsAs done]',
      '      done --> [*]',
      '    }',
      '    --',
      '    state light {',
      '      [*] --> on',
      '      on --> off: flip',
      '    }',
      '  }',
    ]);
  });

  test('the table leaves no arrow out', () => {
    const table = tableOf(small);
    expect(table).toContain('| `work.group` | `pause` |  | `work.group.first` |  |');
    expect(table).toContain('|  | `remark` |  | *stays* | `note` |');
    expect(table).toContain('| `work.group.second` | *at once* | `endsAs done` | `work.done` |  |');
    expect(table.split('\n')).toHaveLength(2 + 6);
  });

  test('draws neither an arrow to the group around it, nor what has no name', () => {
    const nameless = createMachine({
      initial: 'group',
      states: {
        group: {
          initial: 'first',
          states: { first: { on: { again: '#(machine).group', call: { actions: () => undefined } } } },
        },
      },
    });
    expect(mermaidOf(nameless)).not.toMatch(/again|call/);
    expect(tableOf(nameless)).toContain('| `group.first` | `again` |  | `group` |  |');
    expect(tableOf(nameless)).toContain('|  | `call` |  | *stays* |  |');
  });

  test('duties are listed by state', () => {
    expect(dutiesOf(small)).toContain('| `work.group.first` | `look` |');
  });
});

describe('docs/statechart.md', () => {
  test('is what the machine draws', () => {
    expect(readFileSync(statechartFile, 'utf8') === statechartPage(), `it is stale; run: ${command}`).toBe(true);
  });

  test('names no state twice, for Mermaid knows states by their names', () => {
    const declared = [...mermaidOf(rolloutMachine).matchAll(/state (\w+) \{/g)].map(([, name]) => name);
    expect(new Set(declared).size).toBe(declared.length);
  });
});
