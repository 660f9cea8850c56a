# How is the controller itself doing, at one look?
locals {
  charts = [
    ["Traffic by DeployedModel, requests/s", "sum by (endpoint_id, deployed_model_id) (rate(aiplatform_googleapis_com:prediction_online_response_count[5m]))"],
    ["Errors by DeployedModel, share", "sum by (endpoint_id, deployed_model_id) (rate(aiplatform_googleapis_com:prediction_online_response_count{response_code=~\"5.*\"}[5m])) / sum by (endpoint_id, deployed_model_id) (rate(aiplatform_googleapis_com:prediction_online_response_count[5m]))"],
    ["Calls of functions, by outcome, per minute", "60 * sum by (service_name, response_code_class) (rate(${local.requests}{${local.services}}[5m]))"],
    ["Seconds that functions take, 99th percentile", "histogram_quantile(0.99, sum by (service_name, le) (rate(${local.latencies}{${local.services}}[5m]))) / 1000"],
    ["Messages that wait", "max by (subscription_id) (${local.unacked}{subscription_id=~\"${join("|", sort(concat(keys(local.subscriptions), [google_pubsub_subscription.waiting.name, google_pubsub_subscription.dead_letters.name])))}\"})"],
    ["Instances", "sum by (service_name) (run_googleapis_com:container_instance_count{${local.services}})"],
  ]
}

resource "google_monitoring_dashboard" "controller" {
  project = local.project

  dashboard_json = jsonencode({
    displayName = "Vertex Rollouts"
    mosaicLayout = {
      columns = 48
      tiles = [for i, chart in local.charts : {
        xPos   = i % 2 * 24
        yPos   = floor(i / 2) * 16
        width  = 24
        height = 16
        widget = {
          title = chart[0]
          xyChart = {
            dataSets = [{ plotType = "LINE", targetAxis = "Y1", timeSeriesQuery = { prometheusQuery = chart[1] } }]
          }
        }
      }]
    }
  })
}
