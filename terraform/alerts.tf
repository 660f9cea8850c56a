# When is a person told that the controller itself needs one? Each alert says what it means and what to do first.
resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  project      = local.project
  type         = "email"
  display_name = "Vertex Rollouts: ${each.key}"
  labels       = { email_address = each.key }
}

# For owners' own alerts on their endpoints: an alert that notifies this channel rolls back or pauses, as the policy says.
resource "google_monitoring_notification_channel" "incidents" {
  project      = local.project
  type         = "pubsub"
  display_name = "Vertex Rollouts: incidents of endpoints"
  labels       = { topic = google_pubsub_topic.topic["rollout-incidents"].id }
}

resource "google_pubsub_topic_iam_member" "incidents" {
  project = local.project
  topic   = google_pubsub_topic.topic["rollout-incidents"].name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:service-${local.number}@gcp-sa-monitoring-notification.iam.gserviceaccount.com"

  # The first such channel of a project is what makes this account exist.
  depends_on = [google_monitoring_notification_channel.incidents]
}

locals {
  channels = concat([for channel in google_monitoring_notification_channel.email : channel.name], var.notification_channels)

  tick     = "monitored_resource=\"cloud_run_revision\",service_name=\"${local.functions.onTick.name}\""
  services = "monitored_resource=\"cloud_run_revision\",service_name=~\"${join("|", [for function in local.functions : function.name])}\""
  doors    = "monitored_resource=\"cloud_run_revision\",service_name=~\"${join("|", [for function in local.functions : function.name if can(function.topic)])}\""
  proxy    = "monitored_resource=\"cloud_run_revision\",service_name=\"${local.functions.predict.name}\""

  requests  = "run_googleapis_com:request_count"
  latencies = "run_googleapis_com:request_latencies_bucket"
  unacked   = "pubsub_googleapis_com:subscription_num_undelivered_messages"

  pull = "gcloud pubsub subscriptions pull --project=${var.project_id} --limit=20 --format=json"

  alerts = {
    stuck-rollout = {
      title      = "A rollout waits for a person"
      severity   = "WARNING"
      conditions = { "Something waits in ${google_pubsub_subscription.waiting.name}" = "max(${local.unacked}{subscription_id=\"${google_pubsub_subscription.waiting.name}\"}) > 0" }
      lasts      = "60s"
      advice     = <<-EOT
        A rollout was paused, asks for approval, failed, or met what it cannot mend. Read which, and why:

            ${local.pull} ${google_pubsub_subscription.waiting.name}

        Then `rollouts get ROLLOUT`, and `rollouts resume`, `approve`, `retry` or `abort` it. Pull again with `--auto-ack`
        to say that it is taken care of; the alert closes.
      EOT
    }
    dead-letters = {
      title      = "A message was set aside"
      severity   = "ERROR"
      conditions = { "Something waits in ${google_pubsub_subscription.dead_letters.name}" = "max(${local.unacked}{subscription_id=\"${google_pubsub_subscription.dead_letters.name}\"}) > 0" }
      lasts      = "60s"
      advice     = <<-EOT
        A message was not understood (its attribute `reason` says why), or a function failed on it too often (it has
        `CloudPubSubDeadLetterSourceSubscription`). Read it:

            ${local.pull} ${google_pubsub_subscription.dead_letters.name}

        Mend what sent it, publish it anew if it still matters, and pull again with `--auto-ack`.
      EOT
    }
    failing-function = {
      title    = "A function fails"
      severity = "ERROR"
      conditions = {
        "More than 5 % of the proxy's answers are its own or the model's errors" = "sum(rate(${local.requests}{${local.proxy},response_code_class=\"5xx\"}[5m])) / sum(rate(${local.requests}{${local.proxy}}[5m])) > 0.05"
        "A door for events failed more than 3 times in 10 minutes"               = "sum by (service_name) (increase(${local.requests}{${local.doors},response_code_class=\"5xx\"}[10m])) > 3"
      }
      lasts  = "300s"
      advice = <<-EOT
        Pub/Sub sends the messages again, so nothing is lost yet. What the function said:

            gcloud logging read --project=${var.project_id} --freshness=1h 'resource.type="cloud_run_revision" AND resource.labels.service_name=~"^rollouts-" AND severity>=ERROR'

        PERMISSION_DENIED: run terraform apply. UNAVAILABLE or DEADLINE_EXCEEDED: see status.cloud.google.com. Since the last
        deployment: roll it back.
      EOT
    }
    missing-tick = {
      title    = "The controller does not wake"
      severity = "CRITICAL"
      # The reconcile job comes every ten minutes, whether anything is active or not. Twice 15: not at the first apply.
      conditions = { "No tick succeeded for half an hour" = "absent_over_time(${local.requests}{${local.tick},response_code_class=\"2xx\"}[15m])" }
      lasts      = "900s"
      advice     = <<-EOT
        Rollouts stand still: no share rises, and none falls but by an operator, an incident or the proxy's evidence.

            gcloud scheduler jobs list --project=${var.project_id} --location=${var.location}
            gcloud scheduler jobs resume ${google_cloud_scheduler_job.reconcile.name} --project=${var.project_id} --location=${var.location}

        If the job runs, look at the subscription rollout-ticks, and at what ${local.functions.onTick.name} says. To bring traffic
        back meanwhile: `rollouts abort`.
      EOT
    }
    slow-tick = {
      title      = "Ticks take too long"
      severity   = "WARNING"
      conditions = { "Of a hundred ticks the slowest takes over 45 s" = "histogram_quantile(0.99, sum by (le) (rate(${local.latencies}{${local.tick}}[10m]))) > 45000" }
      lasts      = "600s"
      advice     = <<-EOT
        The next tick comes after a minute, and rollouts react late. Usual reasons: Cloud Monitoring or BigQuery answers slowly
        (see the notes in `rollouts get`), or very many rollouts are active at once.

            gcloud logging read --project=${var.project_id} --freshness=1h 'resource.labels.service_name="${local.functions.onTick.name}" AND severity>=WARNING'
      EOT
    }
  }
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = local.alerts

  project               = local.project
  display_name          = "Vertex Rollouts: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = local.labels

  dynamic "conditions" {
    for_each = each.value.conditions
    content {
      display_name = conditions.key
      condition_prometheus_query_language {
        query               = conditions.value
        duration            = each.value.lasts
        evaluation_interval = "60s"
        # A metric does not exist before its first point.
        disable_metric_validation = true
      }
    }
  }

  alert_strategy {
    auto_close = "${7 * 24 * 3600}s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.advice
  }
}

# A function's own cry for help: a record that it cannot read, or a mistake in the code. Ticks go on succeeding without it.
resource "google_monitoring_alert_policy" "critical" {
  project               = local.project
  display_name          = "Vertex Rollouts: A function met what it cannot mend"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "A function logged CRITICAL"
    condition_matched_log {
      filter = join(" AND ", [
        "resource.type=\"cloud_run_revision\"",
        "resource.labels.service_name=(${join(" OR ", [for function in local.functions : "\"${function.name}\""])})",
        "severity>=CRITICAL",
      ])
    }
  }

  alert_strategy {
    auto_close = "${7 * 24 * 3600}s"
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      The rest goes on; the endpoint that the entry names may stand still. Since the last deployment: roll it back. "Cannot be
      read": a newer version wrote the record, so deploy that version again. "The environment is not usable": run terraform apply.

          gcloud logging read --project=${var.project_id} --freshness=6h 'resource.type="cloud_run_revision" AND resource.labels.service_name=~"^rollouts-" AND severity>=CRITICAL'
    EOT
  }
}
