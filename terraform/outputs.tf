output "next_steps" {
  description = "What to do now."
  value       = <<-EOT
    1. See the controller wake: within ten minutes a line "reconcile: 0 active, 0 failed" appears in

         gcloud logging read --project=${local.project} --freshness=15m 'resource.labels.service_name="${local.functions.onTick.name}"' --format='value(jsonPayload.message)'

    2. Bless a version, and watch it go to 100 %:

         gcloud pubsub topics publish model-blessings --project=${local.project} --message='{"model":"projects/${local.project}/locations/${var.location}/models/MODEL","versionId":"VERSION"}'

       Or give it the alias "blessed" in the Model Registry. The policies cover ${join(", ", local.policy_names)}.

    3. Open the dashboard at http://localhost:8080 (operators: ${length(var.operators)}):

         gcloud run services proxy ${local.functions.dashboard.name} --project=${local.project} --region=${var.location}

    4. Give a client of the proxy a key, as docs/deploy.md shows. Until then nobody gets in.
  EOT
}

output "topics" {
  description = "The topics by what they are for: where to publish, and what to subscribe to."
  value = {
    blessings     = google_pubsub_topic.topic["model-blessings"].id
    commands      = google_pubsub_topic.topic["rollout-commands"].id
    notifications = google_pubsub_topic.topic["rollout-notifications"].id
    dead_letters  = google_pubsub_topic.topic["rollout-dead-letters"].id
  }
}

output "proxy_url" {
  description = "Where clients predict. With a domain: point its A record at `proxy_address` first."
  value       = local.has_load_balancer ? "https://${var.proxy.domain}" : google_cloudfunctions2_function.function["predict"].service_config[0].uri
}

output "proxy_address" {
  description = "The address of the load balancer; null without one."
  value       = one(google_compute_global_forwarding_rule.proxy[*].ip_address)
}

output "incidents_channel" {
  description = "The notification channel for alerts on endpoints: what they open rolls back or pauses, as the policy says."
  value       = google_monitoring_notification_channel.incidents.name
}

output "service_accounts" {
  description = "Whom each function runs as."
  value       = { for key, account in google_service_account.function : key => account.email }
}
