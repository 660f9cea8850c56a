# Which keys open the proxy? A secret of `name:sha256-hex,…`, whose versions people add: see docs/deploy.md. Neither a key nor
# its hash is ever in Terraform's state.
resource "google_secret_manager_secret" "proxy_keys" {
  project   = local.project
  secret_id = "rollouts-proxy-keys"
  labels    = local.labels

  replication {
    user_managed {
      replicas {
        location = var.location

        dynamic "customer_managed_encryption" {
          for_each = var.encryption == null ? [] : [local.kms_key]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }
}

# The proxy does not deploy without a version. This one is the hash of nothing: nobody has its key.
resource "google_secret_manager_secret_version" "proxy_keys" {
  secret      = google_secret_manager_secret.proxy_keys.id
  secret_data = "nobody:${join("", [for _ in range(64) : "0"])}"

  # People disable it when they have added their own.
  lifecycle {
    ignore_changes = [enabled]
  }
}

resource "google_secret_manager_secret_iam_member" "predict_reads_keys" {
  project   = local.project
  secret_id = google_secret_manager_secret.proxy_keys.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function["predict"].member
}
