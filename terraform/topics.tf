# How do messages travel? Topics by the names of functions/engine/publish.ts, and a push subscription of our own for each
# function: unlike an implicit trigger's, it has a dead letter, a back-off, retention, and a deadline that fits.
locals {
  topics = toset([
    "model-blessings",
    "rollout-ticks",
    "rollout-commands",
    "rollout-incidents",
    "rollout-evidence",
    "rollout-notifications",
    "rollout-dead-letters",
  ])

  subscriptions = { for key, function in local.functions : function.topic => {
    function    = key
    ack_seconds = function.timeout_seconds
    # An old tick is worth nothing, for the next comes in a minute; a command is a person's word.
    retention_seconds = lookup({ onTick = 600, onEvidence = 3600 }, key, 7 * 24 * 3600)
    # For publishers that give an ordering key, such as the endpoint: "pause" and "resume" arrive as they were said.
    is_ordered = contains(["onBlessing", "onCommand"], key)
  } if can(function.topic) }

  # What waits for a person; see `waiting` in alerts.tf.
  waiting = ["attention", "approval-needed", "paused", "failed"]

  pubsub_agent = "serviceAccount:service-${local.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "topic" {
  for_each = local.topics

  project      = local.project
  name         = each.key
  kms_key_name = local.kms_key
  labels       = local.labels
  # To be read again: what was set aside, and what was told.
  message_retention_duration = contains(["rollout-dead-letters", "rollout-notifications"], each.key) ? "${31 * 24 * 3600}s" : null
}

resource "google_pubsub_subscription" "push" {
  for_each = local.subscriptions

  project                    = local.project
  name                       = each.key
  topic                      = google_pubsub_topic.topic[each.key].id
  labels                     = local.labels
  ack_deadline_seconds       = each.value.ack_seconds
  message_retention_duration = "${each.value.retention_seconds}s"
  enable_message_ordering    = each.value.is_ordered

  push_config {
    # The path is how functions-framework learns which topic a message is from.
    push_endpoint = "${google_cloudfunctions2_function.function[each.value.function].service_config[0].uri}/${google_pubsub_topic.topic[each.key].id}"

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = google_cloudfunctions2_function.function[each.value.function].service_config[0].uri
    }
  }

  # When an outage ends, an abort must not wait for ten minutes more.
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }

  dead_letter_policy {
    dead_letter_topic = google_pubsub_topic.topic["rollout-dead-letters"].id
    # With this back-off, an hour and a half.
    max_delivery_attempts = 100
  }

  # By default a subscription that is idle for a month is deleted.
  expiration_policy {
    ttl = ""
  }

  # Without them the first messages are refused, or lost on their way to the dead letters.
  depends_on = [
    google_cloud_run_v2_service_iam_member.invoker,
    google_pubsub_topic_iam_member.dead_letters,
    google_service_account_iam_member.pubsub_signs_pushes,
  ]
}

# What was set aside waits here until somebody has looked at it.
resource "google_pubsub_subscription" "dead_letters" {
  project                    = local.project
  name                       = "rollout-dead-letters"
  topic                      = google_pubsub_topic.topic["rollout-dead-letters"].id
  labels                     = local.labels
  message_retention_duration = "${31 * 24 * 3600}s"

  expiration_policy {
    ttl = ""
  }
}

# What needs a person waits here until somebody has taken it; an alert looks at whether it is empty.
resource "google_pubsub_subscription" "waiting" {
  project                    = local.project
  name                       = "rollouts-waiting"
  topic                      = google_pubsub_topic.topic["rollout-notifications"].id
  labels                     = local.labels
  message_retention_duration = "${31 * 24 * 3600}s"
  filter                     = join(" OR ", [for what in local.waiting : "attributes.what = \"${what}\""])

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.topic["rollout-dead-letters"].id
    max_delivery_attempts = 100
  }

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub itself moves a message to the dead letters, and signs the token of a push.
resource "google_pubsub_topic_iam_member" "dead_letters" {
  project = local.project
  topic   = google_pubsub_topic.topic["rollout-dead-letters"].name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letters" {
  for_each = merge(google_pubsub_subscription.push, { waiting = google_pubsub_subscription.waiting })

  project      = local.project
  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

resource "google_service_account_iam_member" "pubsub_signs_pushes" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.pubsub_agent
}

# People and pipelines who may publish.
resource "google_pubsub_topic_iam_member" "operators" {
  for_each = toset(var.operators)

  project = local.project
  topic   = google_pubsub_topic.topic["rollout-commands"].name
  role    = "roles/pubsub.publisher"
  member  = each.key
}

resource "google_pubsub_topic_iam_member" "blessers" {
  for_each = toset(var.blessers)

  project = local.project
  topic   = google_pubsub_topic.topic["model-blessings"].name
  role    = "roles/pubsub.publisher"
  member  = each.key
}
