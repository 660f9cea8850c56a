# What did the owners ask for? Each YAML file is a document as functions/gcp/firestore-policies.ts reads it: the text itself,
# with its comments. `rollouts policy lint` checks a policy in full; here, what would make apply leave a useless document.
locals {
  policies = { for file in fileset(var.policies, "*.{yaml,yml}") : trimsuffix(trimsuffix(file, ".yaml"), ".yml") => {
    file = file
    text = file("${var.policies}/${file}")
    # Null where it is no YAML: the precondition below says so.
    yaml = try(yamldecode(file("${var.policies}/${file}")), null)
  } }

  policy_names = [for policy in local.policies : try(policy.yaml.metadata.name, "")]

  # Service accounts that models run as. Who deploys such a model must be allowed to act as them.
  serving_accounts = toset(compact([for policy in local.policies : try(policy.yaml.spec.deploy.serviceAccount, "")]))
}

resource "google_firestore_document" "policy" {
  for_each = local.policies

  project     = local.project
  database    = google_firestore_database.records.name
  collection  = "rollout-policies"
  document_id = each.key
  fields      = jsonencode({ yaml = { stringValue = each.value.text } })

  lifecycle {
    precondition {
      condition     = try(each.value.yaml.apiVersion, "") == "rollouts/v1" && try(each.value.yaml.kind, "") == "RolloutPolicy"
      error_message = "${each.value.file}: expected YAML with apiVersion: rollouts/v1 and kind: RolloutPolicy."
    }
    precondition {
      condition     = length([for name in local.policy_names : name if name == try(each.value.yaml.metadata.name, "")]) == 1 && try(each.value.yaml.metadata.name, "") != ""
      error_message = "${each.value.file}: expected a metadata.name that no other policy has."
    }
    precondition {
      condition     = can(regex("^projects/[^/]+/locations/[^/]+/endpoints/[^/]+$", each.value.yaml.spec.endpoint)) && can(each.value.yaml.spec.match)
      error_message = "${each.value.file}: expected spec.match, and a spec.endpoint such as projects/P/locations/L/endpoints/E."
    }
    precondition {
      condition     = try(strcontains(each.value.yaml.spec.endpoint, "/locations/${var.location}/"), true)
      error_message = "${each.value.file}: the functions speak to Vertex AI in ${var.location}, and spec.endpoint is in another region."
    }
    precondition {
      condition     = length(each.value.text) <= 64 * 1024
      error_message = "${each.value.file}: expected at most 64 KiB."
    }
  }
}
