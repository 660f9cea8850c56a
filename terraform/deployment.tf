# How does a commit come to run? Optional. One trigger runs cloudbuild.yaml for each commit and can only read the project; what
# it makes is a release, told by a message. The other takes that message, waits until a person has approved it, and applies.
# Pub/Sub stands between them so that nobody but an approver makes the second one start: to run a trigger is to act as its account.
locals {
  deployments = var.deployment == null ? {} : { this = var.deployment }
  apply       = yamldecode(file("${path.module}/apply.yaml"))

  builders = var.deployment == null ? {} : {
    plan  = "reads the project, and plans"
    apply = "deploys what was approved"
  }

  build_variables = { for key, deployment in local.deployments : key => {
    _NODE        = deployment.images.node
    _TERRAFORM   = deployment.images.terraform
    _GCLOUD      = deployment.images.gcloud
    _COMPOSITION = deployment.composition
    _RELEASES    = google_storage_bucket.releases[key].name
  } }
}

# What they may do beyond this file, people grant by hand: see docs/deploy.md. Whoever writes grants can grant himself anything.
resource "google_service_account" "builder" {
  for_each = local.builders

  project      = local.project
  account_id   = "rollouts-${each.key}"
  display_name = "Vertex Rollouts: ${each.value}"
}

resource "google_project_iam_member" "builder_logs" {
  for_each = local.builders

  project = local.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.builder[each.key].member
}

resource "google_storage_bucket" "releases" {
  for_each = local.deployments

  project                     = local.project
  name                        = "${var.project_id}-rollouts-releases"
  location                    = var.location
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.is_deletable

  dynamic "encryption" {
    for_each = var.encryption == null ? [] : [local.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }
}

# Who plans adds releases, and can neither change nor remove one.
resource "google_storage_bucket_iam_member" "releases" {
  for_each = var.deployment == null ? {} : {
    "plan/objectCreator" = "plan"
    "plan/objectViewer"  = "plan"
    "apply/objectUser"   = "apply"
  }

  bucket = google_storage_bucket.releases["this"].name
  role   = "roles/storage.${split("/", each.key)[1]}"
  member = google_service_account.builder[each.value].member
}

resource "google_pubsub_topic" "releases" {
  for_each = local.deployments

  project      = local.project
  name         = "rollouts-releases"
  kms_key_name = local.kms_key
  labels       = local.labels
}

resource "google_pubsub_topic_iam_member" "releases" {
  for_each = local.deployments

  project = local.project
  topic   = google_pubsub_topic.releases[each.key].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.builder["plan"].member
}

# Terraform reads again what it wrote: the first version, which opens nothing. Those of people stay out of its reach.
resource "google_secret_manager_secret_iam_member" "plan_reads_placeholder" {
  for_each = local.deployments

  project   = local.project
  secret_id = google_secret_manager_secret.proxy_keys.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.builder["plan"].member

  condition {
    title      = "the first version"
    expression = "resource.name.endsWith(\"/versions/1\")"
  }
}

resource "google_project_iam_member" "approver" {
  for_each = toset(try(var.deployment.approvers, []))

  project = local.project
  role    = "roles/cloudbuild.builds.approver"
  member  = each.key
}

resource "google_cloudbuild_trigger" "plan" {
  for_each = local.deployments

  project            = local.project
  location           = var.location
  name               = "rollouts-plan"
  description        = "Vertex Rollouts: verify, bundle, plan, and keep a release"
  service_account    = google_service_account.builder["plan"].name
  filename           = "cloudbuild.yaml"
  include_build_logs = "INCLUDE_BUILD_LOGS_WITH_STATUS"
  substitutions      = local.build_variables[each.key]

  repository_event_config {
    repository = each.value.repository
    push {
      branch = each.value.branch
    }
  }
}

resource "google_cloudbuild_trigger" "apply" {
  for_each = local.deployments

  project         = local.project
  location        = var.location
  name            = "rollouts-apply"
  description     = "Vertex Rollouts: deploy a release that was approved, or go back"
  service_account = google_service_account.builder["apply"].name

  substitutions = merge(local.build_variables[each.key], {
    _LOCATION = var.location
    _RELEASE  = "$(body.message.attributes.release)"
    _SHA256   = "$(body.message.attributes.sha256)"
  })

  pubsub_config {
    topic = google_pubsub_topic.releases[each.key].id
  }

  approval_config {
    approval_required = true
  }

  build {
    timeout = "3600s"

    dynamic "step" {
      for_each = local.apply.steps
      content {
        id            = step.value.id
        name          = step.value.name
        env           = step.value.env
        script        = step.value.script
        allow_failure = try(step.value.allow_failure, null)
      }
    }

    options {
      logging = "CLOUD_LOGGING_ONLY"
    }
  }
}
