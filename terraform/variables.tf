variable "project_id" {
  description = "The project of the models and endpoints, where all of this is made. One installation to a project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "Expected a project's id such as my-project, and not its number or name."
  }
}

variable "location" {
  description = "The region of the endpoints; the functions and what they need are made there."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.location))
    error_message = "Expected a region such as us-central1."
  }
}

variable "policies" {
  description = "A folder with one YAML file for each policy. A second endpoint or model is a second file."
  type        = string

  validation {
    condition     = length(fileset(var.policies, "*.{yaml,yml}")) > 0
    error_message = "Expected a folder with at least one policy in a file that ends in .yaml."
  }
}

variable "bundles" {
  description = "A folder with a ZIP file for each function, such as onTick.zip, and their version: what the build makes."
  type        = string

  validation {
    condition     = alltrue([for file in local.bundle_files : fileexists("${var.bundles}/${file}")])
    error_message = "Expected ${join(", ", [for file in local.bundle_files : file if !fileexists("${var.bundles}/${file}")])} in ${var.bundles}: build the functions first."
  }
}

variable "operators" {
  description = "Who may open the dashboard, and pause, resume, promote and abort: members such as group:sre@example.com."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(user|group|serviceAccount|principal|principalSet):.+", member))])
    error_message = "Expected members such as group:sre@example.com. Everybody is no operator: allUsers and allAuthenticatedUsers are not taken."
  }
}

variable "blessers" {
  description = "Who may bless by a message, such as the service account of a pipeline. An alias in the registry needs no entry here."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.blessers : can(regex("^(user|group|serviceAccount|principal|principalSet):.+", member))])
    error_message = "Expected members such as serviceAccount:pipeline@my-project.iam.gserviceaccount.com."
  }
}

variable "alert_emails" {
  description = "Who is told when the controller itself is in trouble, or a rollout waits for a person."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "Expected addresses such as sre@example.com."
  }
}

variable "notification_channels" {
  description = "Channels of Cloud Monitoring that are told the same, by their full names: a pager, a chat room."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "Expected full names such as projects/my-project/notificationChannels/123."
  }
}

variable "proxy" {
  description = <<-EOT
    The prediction proxy. Nobody gets in by default.
    `callers`: members who may call it with a Google identity, besides a key.
    `is_public`: whoever has a key gets in, without a Google identity.
    `domain`: a load balancer with Cloud Armor stands before it, with a certificate for this domain; needs `is_public`.
    `requests_per_minute`: of one address, through the load balancer.
    `config`: JSON with callers, tokens, limits, CORS, cache, shadow and pinning, as docs/proxy.md has it; no secret belongs in it.
  EOT
  type = object({
    callers             = optional(list(string), [])
    is_public           = optional(bool, false)
    domain              = optional(string)
    requests_per_minute = optional(number, 6000)
    instances_min       = optional(number, 0)
    instances_max       = optional(number, 20)
    config              = optional(string, "{}")
  })
  default = {}

  validation {
    condition     = can(keys(jsondecode(var.proxy.config)))
    error_message = "Expected proxy.config to be a JSON object."
  }

  validation {
    condition     = alltrue([for member in var.proxy.callers : can(regex("^(user|group|serviceAccount|principal|principalSet):.+", member))])
    error_message = "Expected members such as serviceAccount:app@my-project.iam.gserviceaccount.com. To let in whoever has a key, set is_public."
  }
  validation {
    condition     = var.proxy.domain == null || var.proxy.is_public
    error_message = "A load balancer has no Google identity to show: with `domain`, set is_public too. The proxy is then reached through it alone."
  }
  validation {
    condition     = 0 <= var.proxy.instances_min && var.proxy.instances_min <= var.proxy.instances_max && var.proxy.instances_max >= 1
    error_message = "Expected 0 <= instances_min <= instances_max, and instances_max of at least 1."
  }
}

variable "network" {
  description = "A VPC that the functions reach, by its name, and a free /28 range in it for their connector."
  type        = object({ name = string, connector_range = string })
  default     = null

  validation {
    condition     = var.network == null || can(regex("/28$", var.network.connector_range)) && can(cidrhost(var.network.connector_range, 0))
    error_message = "Expected a connector_range such as 10.8.0.0/28."
  }
}

variable "redis" {
  description = "A Redis in the network, for what instances of the proxy share. It holds nothing that may not be lost."
  type        = object({ memory_gb = optional(number, 1), has_standby = optional(bool, false) })
  default     = null

  validation {
    condition     = var.redis == null || var.network != null
    error_message = "Redis is only reached from a VPC: set network too."
  }
}

variable "encryption" {
  description = "A key of Cloud KMS, by its full name and in `location`, for all that is stored. The database takes it only when it is made."
  type        = object({ kms_key = string })
  default     = null

  validation {
    condition     = var.encryption == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.encryption.kms_key))
    error_message = "Expected a kms_key such as projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version."
  }
}

variable "deployment" {
  description = <<-EOT
    Deploys by Cloud Build; null: by hand.
    `repository`: connected to Cloud Build, by its full name; `branch`: of which each commit is planned, as an expression.
    `composition`: the folder in it where Terraform runs, with its backend, variables and .terraform.lock.hcl.
    `approvers`: members who may let a release through. `images`: what the steps run in, each by its digest.
  EOT
  type = object({
    repository  = string
    branch      = optional(string, "^main$")
    composition = string
    approvers   = list(string)
    images      = object({ node = string, terraform = string, gcloud = string })
  })
  default = null

  validation {
    condition     = var.deployment == null || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.deployment.repository))
    error_message = "Expected a repository such as projects/P/locations/L/connections/C/repositories/R."
  }
  validation {
    condition     = alltrue([for image in values(try(var.deployment.images, {})) : can(regex("^[^@ ]+@sha256:[0-9a-f]{64}$", image))])
    error_message = "Expected each of deployment.images with its digest, such as node@sha256:…: a tag may be another image tomorrow. docs/deploy.md shows how to find it."
  }
  validation {
    condition     = var.deployment == null || can(regex("^[a-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]$", var.deployment.composition)) && !can(regex("\\.\\.", var.deployment.composition))
    error_message = "Expected a folder of the repository such as terraform/examples/production."
  }
  validation {
    condition     = var.deployment == null || length(try(var.deployment.approvers, [])) > 0 && alltrue([for member in try(var.deployment.approvers, []) : can(regex("^(user|group|principal|principalSet):.+", member))])
    error_message = "Expected at least one member such as group:sre@example.com. Who approves is a person: no service account, and not everybody."
  }
}

variable "request_logs" {
  description = "BigQuery datasets with request logs that policies read, as PROJECT.DATASET, in this project."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for dataset in var.request_logs : can(regex("^${var.project_id}\\.\\w+$", dataset))])
    error_message = "Expected datasets of this project, such as ${var.project_id}.request_logs."
  }
}

variable "reads_model_monitoring" {
  description = "Whether policies have checks from Vertex AI Model Monitoring."
  type        = bool
  default     = false
}

variable "firestore_location" {
  description = "Where the records are: a region or multi-region such as nam5. Null: `location`. It cannot be changed later."
  type        = string
  default     = null
}

variable "is_deletable" {
  description = "Whether terraform destroy may take the records and the source archives with it."
  type        = bool
  default     = false
}

variable "labels" {
  description = "Labels for all that can bear them."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "Expected labels of lower-case letters, digits, _ and -."
  }
}
