# When does the controller wake by itself? Every minute while something is active, and every ten minutes always.
resource "google_cloud_scheduler_job" "tick" {
  project     = local.project
  region      = var.location
  name        = "rollout-ticks"
  description = "Advances what is due. Paused by the controller while nothing is active."
  schedule    = "* * * * *"
  time_zone   = "Etc/UTC"

  pubsub_target {
    topic_name = google_pubsub_topic.topic["rollout-ticks"].id
    data       = base64encode(jsonencode({ kind = "tick" }))
  }

  lifecycle {
    # The controller's to decide: an apply in the middle of a rollout must not stop the clock.
    ignore_changes = [paused]
  }
}

resource "google_cloud_scheduler_job" "reconcile" {
  project     = local.project
  region      = var.location
  name        = "rollout-reconcile"
  description = "Compares the world with the records. Always on: it finds what every other way has lost."
  schedule    = "*/10 * * * *"
  time_zone   = "Etc/UTC"
  paused      = false

  pubsub_target {
    topic_name = google_pubsub_topic.topic["rollout-ticks"].id
    data       = base64encode(jsonencode({ kind = "reconcile" }))
  }
}
