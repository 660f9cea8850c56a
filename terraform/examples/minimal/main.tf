# The least that runs: the controller and one policy. Nobody is let in but the project's owners.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The state belongs in a bucket, not on a laptop; docs/deploy.md makes it.
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

variable "alert_emails" {
  description = "Who is told when the controller needs a person."
  type        = list(string)
  default     = []
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

module "rollouts" {
  source = "../.."

  project_id   = var.project_id
  location     = var.location
  policies     = "${path.module}/policies"
  bundles      = var.bundles
  alert_emails = var.alert_emails
  deployment   = var.deployment
}

output "next_steps" {
  value = module.rollouts.next_steps
}

output "incidents_channel" {
  description = "For alerts of your own on endpoints."
  value       = module.rollouts.incidents_channel
}
