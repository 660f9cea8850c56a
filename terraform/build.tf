# From what are the functions built, by whom, and where do the images stay?
locals {
  # What `npm run bundle` leaves.
  bundle_files = concat([for key in keys(local.functions) : "${key}.zip"], ["version"])
}

resource "google_storage_bucket" "source" {
  project                     = local.project
  name                        = "${var.project_id}-rollouts-source"
  location                    = var.location
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.is_deletable

  versioning {
    enabled = true
  }

  dynamic "encryption" {
    for_each = var.encryption == null ? [] : [local.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }
}

# Named by its content: a function is built anew when its own bundle changed, and not when another's did.
resource "google_storage_bucket_object" "bundle" {
  for_each = local.functions

  bucket = google_storage_bucket.source.name
  name   = "${each.key}-${filesha256("${var.bundles}/${each.key}.zip")}.zip"
  source = "${var.bundles}/${each.key}.zip"
}

resource "google_artifact_registry_repository" "images" {
  project       = local.project
  location      = var.location
  repository_id = "rollouts"
  description   = "Images of the functions"
  format        = "DOCKER"
  kms_key_name  = local.kms_key
  labels        = local.labels

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 5
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "${30 * 24 * 3600}s"
    }
  }

  vulnerability_scanning_config {
    enablement_config = "INHERITED"
  }
}

resource "google_service_account" "build" {
  project      = local.project
  account_id   = "rollouts-build"
  display_name = "Vertex Rollouts: builds of the functions"
}

resource "google_artifact_registry_repository_iam_member" "build_writes_images" {
  project    = local.project
  location   = var.location
  repository = google_artifact_registry_repository.images.repository_id
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

resource "google_project_iam_member" "build_logs" {
  project = local.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}

resource "google_project_iam_member" "build_reads_source" {
  project = local.project
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  # Cloud Functions copies a bundle into a bucket of its own, which does not exist before the first function does.
  condition {
    title      = "sources of functions"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-${local.number}-${var.location}\")"
  }
}
