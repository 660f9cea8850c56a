# Locked down: a key of one's own for all that is stored, a VPC, a load balancer with Cloud Armor before the proxy, Redis, and
# people by name.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # backend "gcs" {}
}

variable "project_id" {
  description = "The project of the models and endpoints."
  type        = string
}

variable "location" {
  description = "The region of the endpoints."
  type        = string
}

variable "bundles" {
  description = "Where `npm run bundle` left the functions."
  type        = string
  default     = "../../../dist/bundles"
}

variable "network" {
  description = "The VPC, by its name."
  type        = string
}

variable "domain" {
  description = "The name under which clients reach the proxy."
  type        = string
}

variable "operators" {
  description = "Who may command rollouts, such as group:sre@example.com."
  type        = list(string)
}

variable "blessers" {
  description = "The service accounts of pipelines that bless."
  type        = list(string)
}

variable "alert_emails" {
  description = "Who is told when the controller needs a person."
  type        = list(string)
}

variable "deployment" {
  description = "How Cloud Build deploys, as terraform/variables.tf has it; null: by hand."
  type = object({
    repository  = string
    composition = string
    approvers   = list(string)
    images      = object({ node = string, terraform = string, gcloud = string })
  })
  default = null
}

provider "google" {
  project = var.project_id
  region  = var.location
}

resource "google_project_service" "kms" {
  project            = var.project_id
  service            = "cloudkms.googleapis.com"
  disable_on_destroy = false
}

resource "google_kms_key_ring" "rollouts" {
  project  = google_project_service.kms.project
  location = var.location
  name     = "rollouts"
}

resource "google_kms_crypto_key" "rollouts" {
  key_ring        = google_kms_key_ring.rollouts.id
  name            = "rollouts"
  rotation_period = "${90 * 24 * 3600}s"
}

module "rollouts" {
  source = "../.."

  project_id = var.project_id
  location   = var.location
  policies   = "${path.module}/policies"
  bundles    = var.bundles

  operators    = var.operators
  blessers     = var.blessers
  alert_emails = var.alert_emails
  deployment   = var.deployment

  encryption = { kms_key = google_kms_crypto_key.rollouts.id }
  network    = { name = var.network, connector_range = "10.8.0.0/28" }
  redis      = { has_standby = true }

  proxy = {
    is_public           = true
    domain              = var.domain
    requests_per_minute = 1200
    instances_min       = 1
    # One request in a hundred, to Cloud Trace.
    config = jsonencode({ tracing = { url = "https://telemetry.googleapis.com/v1/traces", share = 0.01, serviceName = "rollouts-predict" } })
  }

  request_logs           = ["${var.project_id}.request_logs"]
  reads_model_monitoring = true
}

output "next_steps" {
  value = module.rollouts.next_steps
}

output "proxy_address" {
  description = "What the A record of the domain points at."
  value       = module.rollouts.proxy_address
}

output "incidents_channel" {
  description = "For alerts of your own on endpoints."
  value       = module.rollouts.incidents_channel
}
