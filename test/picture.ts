/** How does docs/statechart.md stay true? It is written from the machine: `npx node test/picture.ts`. */
import { writeFileSync } from 'node:fs';
import { dutiesOf, mermaidOf, tableOf } from '../machines/rollout/picture.ts';
import { rolloutMachine } from '../machines/rollout/statechart.ts';

export const statechartFile = 'docs/statechart.md';
export const command = 'npx node test/picture.ts';

/** The page as it should be. */
export function statechartPage(): string {
  return `# The statechart

Reference. Written from \`machines/rollout/statechart.ts\` by \`${command}\`; do not edit it by hand.

An arrow says \`event [claim]\`: it is taken when the event arrives and the claim, a function of that name in
\`machines/rollout/guards.ts\`, is true. An arrow without an event is taken as soon as its claim is true. Arrows that change
no state are only in the table.

\`\`\`mermaid
${mermaidOf(rolloutMachine)}
\`\`\`

## What each state owes the world

The engine does it for as long as the state lasts, so that a crash at any moment is healed by doing it again
([decision 2](decisions/0002-effects-follow-from-the-state.md)).

${dutiesOf(rolloutMachine)}

## Every arrow

Of the arrows of one state that answer the same event, the first whose claim is true is taken. A state's own arrows come
before those of the states around it. Updates are functions in
\`operations.ts\`, \`shares.ts\`, \`people.ts\` and \`endings.ts\` of \`machines/rollout\`.

${tableOf(rolloutMachine)}
`;
}

if (import.meta.main) writeFileSync(statechartFile, statechartPage());
