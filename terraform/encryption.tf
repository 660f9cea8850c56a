# With a customer's key: Google's services use it in their own names, each allowed before anything is stored with it.
locals {
  encrypting_agents = var.encryption == null ? {} : merge(
    { for agent in [
      "gcf-admin-robot",
      "gcp-sa-artifactregistry",
      "gcp-sa-firestore",
      "gcp-sa-pubsub",
      "gcp-sa-secretmanager",
      "gs-project-accounts",
      "serverless-robot-prod",
    ] : agent => "serviceAccount:service-${local.number}@${agent}.iam.gserviceaccount.com" },
    var.redis == null ? {} : { cloud-redis = "serviceAccount:service-${local.number}@cloud-redis.iam.gserviceaccount.com" },
  )

  # The key, once all of them may use it; null without one.
  kms_key = one(distinct([for grant in google_kms_crypto_key_iam_member.agent : grant.crypto_key_id]))
}

resource "google_kms_crypto_key_iam_member" "agent" {
  for_each = local.encrypting_agents

  crypto_key_id = var.encryption.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value

  depends_on = [google_project_service.api]
}
