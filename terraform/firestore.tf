# Where is everything remembered? One database, with an index only for what is asked for.
locals {
  # By collection: what functions/gcp/firestore-store.ts writes and never searches by. The JSON of a record is most of its
  # bytes, and an index of it would be paid for at every write.
  unindexed = merge([for collection, fields in {
    rollout-endpoints = ["data", "commitId"]
    rollouts          = ["data", "key", "endedAt"]
    journal           = ["data", "at", "sequence"]
    rollout-marks     = ["mark"]
    rollout-policies  = ["yaml"]
  } : { for field in fields : "${collection}.${field}" => { collection = collection, field = field } }]...)
}

resource "google_firestore_database" "records" {
  project                           = local.project
  name                              = "(default)"
  location_id                       = coalesce(var.firestore_location, var.location)
  type                              = "FIRESTORE_NATIVE"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = var.is_deletable ? "DELETE_PROTECTION_DISABLED" : "DELETE_PROTECTION_ENABLED"
  deletion_policy                   = var.is_deletable ? "DELETE" : "ABANDON"

  dynamic "cmek_config" {
    for_each = var.encryption == null ? [] : [local.kms_key]
    content {
      kms_key_name = cmek_config.value
    }
  }
}

resource "google_firestore_field" "unindexed" {
  for_each = local.unindexed

  project    = local.project
  database   = google_firestore_database.records.name
  collection = each.value.collection
  field      = each.value.field

  # Empty: no index at all.
  index_config {}
}

# Journals and ended rollouts go within a day after the instant in their `expireAt`, which is 400 days. Records and the marks of
# events that were seen have none, and stay for ever.
resource "google_firestore_field" "expiry" {
  for_each = toset(["journal", "rollouts"])

  project    = local.project
  database   = google_firestore_database.records.name
  collection = each.key
  field      = "expireAt"

  # An index of instants that only ever rise is a hot spot.
  index_config {}
  ttl_config {}
}

resource "google_firestore_backup_schedule" "daily" {
  project   = local.project
  database  = google_firestore_database.records.name
  retention = "${14 * 24 * 3600}s"

  daily_recurrence {}
}
