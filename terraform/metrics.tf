# How many answers did the proxy give, of which code, by whom? Of the lines that every instance logs once a minute; see docs/proxy.md.
resource "google_logging_metric" "proxy_answers" {
  project     = local.project
  name        = "rollouts/proxy_answers"
  description = "Answers of the prediction proxy. The sum of the distribution is their number; its points are lines of the log."
  filter      = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${local.functions.predict.name}\" AND jsonPayload.message=\"Answers of the proxy\""

  value_extractor = "EXTRACT(jsonPayload.answers)"
  label_extractors = {
    endpoint          = "EXTRACT(jsonPayload.endpoint)"
    deployed_model_id = "EXTRACT(jsonPayload.deployedModelId)"
    code              = "EXTRACT(jsonPayload.code)"
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 12
      growth_factor      = 4
      scale              = 1
    }
  }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "1"

    labels {
      key         = "endpoint"
      description = "The endpoint's name, or none."
    }
    labels {
      key         = "deployed_model_id"
      description = "Who answered, or none."
    }
    labels {
      key         = "code"
      description = "HTTP's; 499 where the caller left first."
    }
  }
}
