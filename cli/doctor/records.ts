/** Can the controller read what it remembers, and what its owners asked for? */
import { parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { type Check, count, type Outcome, type Problem } from './checkup.ts';
import type { Site } from './site.ts';

export const recordChecks: Check[] = [
  { name: 'records', run: checkRecords },
  { name: 'policies', run: checkPolicies },
];

async function checkRecords(site: Site): Promise<Outcome> {
  const { readable, damaged, active } = await site.records();
  const problems = damaged.map(
    ({ message }): Problem => ({
      what: message,
      why: 'Every tick leaves this endpoint alone: its share neither rises nor falls by itself.',
      mend: message.includes('newer version')
        ? 'deploy the version that wrote it, as docs/upgrade.md says'
        : 'see "A record that is damaged" in docs/runbooks.md',
    }),
  );
  return { seen: `${count(readable.length, 'record')} read, ${active} active`, problems };
}

async function checkPolicies(site: Site): Promise<Outcome> {
  const { policies, problems: invalid } = await site.policies();
  const problems = invalid.map(
    (what): Problem => ({
      what,
      why: 'Its model has no policy: a blessing of it starts nothing.',
      mend: 'mend the file, then: rollouts policy lint FILE && terraform apply',
    }),
  );
  if (policies.length === 0 && invalid.length === 0) {
    problems.push({
      what: 'There is no policy.',
      why: 'A blessing starts nothing.',
      mend: 'write one, as docs/policy.md says, and: terraform apply',
    });
  }
  const { location } = site.environment;
  for (const { name, endpoint } of policies) {
    if (parseEndpointName(endpoint)?.location === location) continue;
    problems.push({
      what: `Policy ${name} is for ${endpoint}, and the functions speak to Vertex AI in ${location}.`,
      why: 'Its rollouts fail at once.',
      mend: `name an endpoint in ${location}, or install the controller in the other region too`,
    });
  }
  return { seen: `${policies.length} valid`, problems };
}
