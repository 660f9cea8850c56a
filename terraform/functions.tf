# The Cloud Functions: the same as in functions/index.ts, each from its own bundle, as its own service account.
locals {
  # `timeout_seconds` is also the acknowledgement deadline, so that no message comes again while it is worked on.
  functions = {
    onBlessing = { name = "rollouts-on-blessing", topic = "model-blessings", timeout_seconds = 120, instances_max = 10 }
    # A tick with more than its page passes the rest on to other instances.
    onTick     = { name = "rollouts-on-tick", topic = "rollout-ticks", timeout_seconds = 300, instances_max = 20, memory = "1Gi" }
    onCommand  = { name = "rollouts-on-command", topic = "rollout-commands", timeout_seconds = 120, instances_max = 10 }
    onIncident = { name = "rollouts-on-incident", topic = "rollout-incidents", timeout_seconds = 120, instances_max = 10 }
    onEvidence = { name = "rollouts-on-evidence", topic = "rollout-evidence", timeout_seconds = 60, instances_max = 20 }
    # Longer than the proxy's own deadline for a stream.
    predict   = { name = "rollouts-predict", timeout_seconds = 620, instances_max = var.proxy.instances_max, concurrency = 80 }
    dashboard = { name = "rollouts-dashboard", timeout_seconds = 60, instances_max = 3, concurrency = 20 }
  }

  # What functions/engine/environment.ts reads, without what points at an emulator or a folder of a local run.
  environment = {
    GOOGLE_CLOUD_PROJECT = local.project
    ROLLOUT_LOCATION     = var.location
    ROLLOUT_STORE        = "firestore"
    ROLLOUT_TICK_JOB     = google_cloud_scheduler_job.tick.name
  }
}

resource "google_cloudfunctions2_function" "function" {
  for_each = local.functions

  project      = local.project
  location     = var.location
  name         = each.value.name
  description  = "Vertex Rollouts: ${each.key}"
  kms_key_name = local.kms_key
  # `rollouts doctor` compares it with its own; a label has no dots.
  labels = merge(local.labels, { version = replace(trimspace(file("${var.bundles}/version")), ".", "-") })

  build_config {
    runtime           = "nodejs24"
    entry_point       = each.key
    service_account   = google_service_account.build.name
    docker_repository = google_artifact_registry_repository.images.id

    source {
      storage_source {
        bucket = google_storage_bucket_object.bundle[each.key].bucket
        object = google_storage_bucket_object.bundle[each.key].name
      }
    }
  }

  service_config {
    service_account_email = google_service_account.function[each.key].email
    # A fraction of a CPU would take seconds to load Google's clients.
    available_cpu                    = "1"
    available_memory                 = try(each.value.memory, "512Mi")
    timeout_seconds                  = each.value.timeout_seconds
    min_instance_count               = each.key == "predict" ? var.proxy.instances_min : 0
    max_instance_count               = each.value.instances_max
    max_instance_request_concurrency = try(each.value.concurrency, 1)
    # Pushes count as internal: doors for events are closed to the rest of the world before IAM is even asked.
    ingress_settings = (
      can(each.value.topic) ? "ALLOW_INTERNAL_ONLY" :
      each.key == "predict" && var.proxy.domain != null ? "ALLOW_INTERNAL_AND_GCLB" :
      "ALLOW_ALL"
    )
    environment_variables = merge(
      local.environment,
      each.key == "predict" ? { ROLLOUT_PROXY_CONFIG = var.proxy.config } : {},
      each.key == "predict" && var.redis != null ? { REDIS_URL = local.redis_url } : {},
    )
    vpc_connector                 = one(google_vpc_access_connector.functions[*].id)
    vpc_connector_egress_settings = var.network == null ? null : "PRIVATE_RANGES_ONLY"

    dynamic "secret_environment_variables" {
      for_each = each.key == "predict" ? [google_secret_manager_secret_version.proxy_keys] : []
      content {
        key        = "ROLLOUT_PROXY_KEYS"
        project_id = local.project
        secret     = google_secret_manager_secret.proxy_keys.secret_id
        version    = "latest"
      }
    }
  }

  # A function that starts before it may read its secret, or whose build may not read its source, fails to deploy.
  depends_on = [
    google_secret_manager_secret_iam_member.predict_reads_keys,
    google_artifact_registry_repository_iam_member.build_writes_images,
    google_project_iam_member.build_logs,
    google_project_iam_member.build_reads_source,
  ]
}

# Who may call a function: Pub/Sub those for events, operators the dashboard, and the proxy whom its variable names.
locals {
  invokers = merge(
    { for key, function in local.functions : "${key}/push" => [key, google_service_account.push.member] if can(function.topic) },
    { for member in var.operators : "dashboard/${member}" => ["dashboard", member] },
    { for member in var.proxy.callers : "predict/${member}" => ["predict", member] },
    { for member in var.proxy.is_public ? ["allUsers"] : [] : "predict/${member}" => ["predict", member] },
  )
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = local.invokers

  project  = local.project
  location = var.location
  name     = google_cloudfunctions2_function.function[each.value[0]].name
  role     = "roles/run.invoker"
  member   = each.value[1]
}
