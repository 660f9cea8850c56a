/** Which policies are there? PoliciesPort over the Firestore documents that Terraform writes, one YAML text in each. */

import type { Policy } from '../../machines/policy/policy.ts';
import type { PoliciesPort } from '../engine/ports.ts';
import type { RecordClients } from './clients.ts';
import { queryCollection } from './firestore-query.ts';

export const policiesCollection = 'rollout-policies';

/** PoliciesPort over the collection `rollout-policies`; a document's policy is the text of its field `yaml`. */
export function firestorePolicies(clients: Pick<RecordClients, 'firestoreRest'>): PoliciesPort {
  return {
    async list() {
      const documents = await queryCollection(clients, { collection: policiesCollection, field: 'yaml' });
      // Not before: the question of a new process would wait until it is loaded.
      const { formatProblem, parsePolicy } = await import('../../machines/policy/document.ts');
      const policies: Policy[] = [];
      const read = new Map<string, Policy | null>();
      const problems: string[] = [];
      for (const { id, value: yaml } of documents) {
        const where = `${policiesCollection}/${id}`;
        read.set(id, null);
        if (typeof yaml !== 'string') {
          problems.push(
            `${where}: expected the policy's text in the field "yaml", got ${typeof yaml}; run terraform apply`,
          );
          continue;
        }
        const parsed = parsePolicy(yaml);
        if (parsed.kind === 'ok') {
          policies.push(parsed.policy);
          read.set(id, parsed.policy);
        } else problems.push(...parsed.problems.map((problem) => formatProblem(where, problem)));
      }
      return { policies, problems, documents: read };
    },
  };
}
