# Who may do what? Each function has its own service account, and a role with the permissions that its code calls for and no
# other: test/terraform/permissions.test.ts derives them from the code and compares.
locals {
  permissions = {
    record = ["datastore.entities.create", "datastore.entities.get", "datastore.entities.update"]
    search = ["datastore.entities.get", "datastore.entities.list"]
    # What a rollout does to its endpoint.
    endpoint = [
      "aiplatform.endpoints.deploy",
      "aiplatform.endpoints.get",
      "aiplatform.endpoints.undeploy",
      "aiplatform.endpoints.update",
    ]
    model  = ["aiplatform.models.get"]
    resume = ["cloudscheduler.jobs.enable", "cloudscheduler.jobs.get"]
    pause  = ["cloudscheduler.jobs.pause"]
    metrics = concat(
      ["monitoring.timeSeries.list"],
      length(var.request_logs) > 0 ? ["bigquery.jobs.create"] : [],
      var.reads_model_monitoring ? [
        "aiplatform.modelDeploymentMonitoringJobs.get",
        "aiplatform.modelDeploymentMonitoringJobs.searchStatsAnomalies",
        "aiplatform.modelMonitors.get",
        "aiplatform.modelMonitors.searchModelMonitoringStats",
      ] : [],
    )
    predict = ["aiplatform.endpoints.predict"]
  }

  may = {
    onBlessing = ["record", "search", "endpoint", "model", "resume"]
    onTick     = ["record", "search", "endpoint", "model", "resume", "pause", "metrics"]
    onCommand  = ["record", "search", "endpoint", "resume"]
    onIncident = ["record", "search", "endpoint"]
    onEvidence = ["record", "endpoint"]
    predict    = ["search", "predict"]
    dashboard  = ["search"]
  }

  publishes = {
    onBlessing = ["rollout-notifications", "rollout-dead-letters"]
    onTick     = ["rollout-notifications", "rollout-dead-letters", "rollout-ticks"]
    onCommand  = ["rollout-notifications", "rollout-dead-letters"]
    onIncident = ["rollout-notifications", "rollout-dead-letters"]
    onEvidence = ["rollout-notifications", "rollout-dead-letters"]
    predict    = ["rollout-evidence"]
    dashboard  = ["rollout-commands"]
  }

  deployers = [for key, what in local.may : key if contains(what, "endpoint")]
}

resource "google_service_account" "function" {
  for_each = local.functions

  project      = local.project
  account_id   = each.value.name
  display_name = "Vertex Rollouts: ${each.key}"
}

# Whom Pub/Sub calls as.
resource "google_service_account" "push" {
  project      = local.project
  account_id   = "rollouts-push"
  display_name = "Vertex Rollouts: Pub/Sub's pushes"
}

resource "google_project_iam_custom_role" "function" {
  for_each = local.may

  project     = local.project
  role_id     = "rollouts.${each.key}"
  title       = "Vertex Rollouts: ${each.key}"
  description = "What the function ${each.key} calls, and nothing else"
  permissions = distinct(flatten([for what in each.value : local.permissions[what]]))
}

resource "google_project_iam_member" "function" {
  for_each = local.may

  project = local.project
  role    = google_project_iam_custom_role.function[each.key].name
  member  = google_service_account.function[each.key].member
}

resource "google_project_iam_member" "predict_writes_traces" {
  count = local.traces_to_google ? 1 : 0

  project = local.project
  role    = "roles/telemetry.tracesWriter"
  member  = google_service_account.function["predict"].member
}

resource "google_pubsub_topic_iam_member" "function" {
  for_each = merge([for key, topics in local.publishes : {
    for topic in topics : "${key}/${topic}" => { function = key, topic = topic }
  }]...)

  project = local.project
  topic   = google_pubsub_topic.topic[each.value.topic].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.function[each.value.function].member
}

# A model that runs as a service account is deployed only by who may act as that account.
resource "google_project_iam_custom_role" "act_as" {
  count = length(local.serving_accounts) > 0 ? 1 : 0

  project     = local.project
  role_id     = "rollouts.actAs"
  title       = "Vertex Rollouts: deploy models that run as this account"
  permissions = ["iam.serviceAccounts.actAs"]
}

resource "google_service_account_iam_member" "act_as" {
  for_each = { for pair in setproduct(local.serving_accounts, local.deployers) : "${pair[1]}/${pair[0]}" => { account = pair[0], function = pair[1] } }

  service_account_id = "projects/-/serviceAccounts/${each.value.account}"
  role               = google_project_iam_custom_role.act_as[0].name
  member             = google_service_account.function[each.value.function].member
}

resource "google_project_iam_custom_role" "request_log" {
  count = length(var.request_logs) > 0 ? 1 : 0

  project     = local.project
  role_id     = "rollouts.requestLog"
  title       = "Vertex Rollouts: read the request logs that policies name"
  permissions = ["bigquery.tables.getData"]
}

resource "google_bigquery_dataset_iam_member" "request_log" {
  for_each = var.request_logs

  project    = split(".", each.key)[0]
  dataset_id = split(".", each.key)[1]
  role       = google_project_iam_custom_role.request_log[0].name
  member     = google_service_account.function["onTick"].member
}
