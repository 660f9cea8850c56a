# How does the Model Registry tell of a blessing? Its audit log is always on; one sink passes on the entries of every way to
# set an alias: the console, the API and its beta. Which alias it was, and whether it worked, the function finds out.
resource "google_logging_project_sink" "blessings" {
  project                = local.project
  name                   = "rollouts-blessings"
  description            = "Aliases set in the Model Registry, to Vertex Rollouts"
  destination            = "pubsub.googleapis.com/${google_pubsub_topic.topic["model-blessings"].id}"
  unique_writer_identity = true
  filter = join(" AND ", [
    "logName:\"cloudaudit.googleapis.com%2Factivity\"",
    "protoPayload.serviceName=\"aiplatform.googleapis.com\"",
    "protoPayload.methodName=~\"ModelService\\.(MergeVersionAliases|UploadModel)$\"",
  ])
}

resource "google_pubsub_topic_iam_member" "sink" {
  project = local.project
  topic   = google_pubsub_topic.topic["model-blessings"].name
  role    = "roles/pubsub.publisher"
  member  = google_logging_project_sink.blessings.writer_identity
}
