# Which APIs are used, and by which names does Google know this project?
locals {
  apis = toset(concat(
    [
      "aiplatform.googleapis.com",
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudfunctions.googleapis.com",
      "cloudscheduler.googleapis.com",
      "firestore.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
    ],
    length(var.request_logs) > 0 ? ["bigquery.googleapis.com"] : [],
    var.encryption != null ? ["cloudkms.googleapis.com"] : [],
    var.network != null ? ["vpcaccess.googleapis.com"] : [],
    var.redis != null ? ["redis.googleapis.com"] : [],
    var.proxy.domain != null ? ["compute.googleapis.com"] : [],
    local.traces_to_google ? ["telemetry.googleapis.com"] : [],
  ))

  # The proxy's configuration may send traces anywhere.
  traces_to_google = startswith(try(jsondecode(var.proxy.config).tracing.url, ""), "https://telemetry.googleapis.com/")

  # The project, once its APIs are on: whatever names it so waits for them.
  project = distinct([for api in google_project_service.api : api.project])[0]
  number  = data.google_project.this.number

  labels = merge(var.labels, { app = "vertex-rollouts" })
}

data "google_project" "this" {
  project_id = var.project_id
}

resource "google_project_service" "api" {
  for_each = local.apis

  project = var.project_id
  service = each.key
  # Others in the project may use them.
  disable_on_destroy = false
}
