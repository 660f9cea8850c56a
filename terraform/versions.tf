# Facts of the provider that the tests hold this against: test/terraform/google-6.50.0.schema.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}
