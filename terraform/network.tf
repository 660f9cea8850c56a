# How does the proxy meet the world, and the VPC? All of it is optional.
locals {
  has_load_balancer = var.proxy.domain != null
  redis_url         = one([for redis in google_redis_instance.proxy : "redis://${redis.host}:${redis.port}"])
}

resource "google_vpc_access_connector" "functions" {
  count = var.network == null ? 0 : 1

  project       = local.project
  region        = var.location
  name          = "rollouts"
  network       = var.network.name
  ip_cidr_range = var.network.connector_range
  min_instances = 2
  max_instances = 3
}

# Reached from the network alone, which is what guards it. A password would stand in Terraform's state and in the
# environment of the function.
resource "google_redis_instance" "proxy" {
  count = var.redis == null ? 0 : 1

  project              = local.project
  region               = var.location
  name                 = "rollouts-proxy"
  tier                 = var.redis.has_standby ? "STANDARD_HA" : "BASIC"
  memory_size_gb       = var.redis.memory_gb
  redis_version        = "REDIS_7_2"
  redis_configs        = { maxmemory-policy = "allkeys-lru" }
  authorized_network   = "projects/${local.project}/global/networks/${var.network.name}"
  customer_managed_key = local.kms_key
  labels               = local.labels
}

resource "google_compute_region_network_endpoint_group" "proxy" {
  count = local.has_load_balancer ? 1 : 0

  project               = local.project
  region                = var.location
  name                  = "rollouts-proxy"
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloudfunctions2_function.function["predict"].name
  }
}

# Only the rate is limited here. Rules that look for attacks in bodies take the numbers and texts of a prediction for one.
resource "google_compute_security_policy" "proxy" {
  count = local.has_load_balancer ? 1 : 0

  project = local.project
  name    = "rollouts-proxy"

  rule {
    description = "So many requests a minute from one address"
    priority    = 1000
    action      = "throttle"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.proxy.requests_per_minute
        interval_sec = 60
      }
    }
  }

  rule {
    description = "The rest; the proxy itself asks for a key"
    priority    = 2147483647
    action      = "allow"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  adaptive_protection_config {
    layer_7_ddos_defense_config {
      enable = true
    }
  }
}

resource "google_compute_backend_service" "proxy" {
  count = local.has_load_balancer ? 1 : 0

  project               = local.project
  name                  = "rollouts-proxy"
  protocol              = "HTTPS"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  security_policy       = google_compute_security_policy.proxy[0].id

  backend {
    group = google_compute_region_network_endpoint_group.proxy[0].id
  }
}

resource "google_compute_url_map" "proxy" {
  count = local.has_load_balancer ? 1 : 0

  project         = local.project
  name            = "rollouts-proxy"
  default_service = google_compute_backend_service.proxy[0].id
}

resource "google_compute_managed_ssl_certificate" "proxy" {
  count = local.has_load_balancer ? 1 : 0

  project = local.project
  # A certificate cannot change its domain; with a name of its own, the new one is there before the old one goes.
  name = "rollouts-proxy-${substr(sha256(var.proxy.domain), 0, 8)}"

  managed {
    domains = [var.proxy.domain]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_target_https_proxy" "proxy" {
  count = local.has_load_balancer ? 1 : 0

  project          = local.project
  name             = "rollouts-proxy"
  url_map          = google_compute_url_map.proxy[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.proxy[0].id]
}

resource "google_compute_global_forwarding_rule" "proxy" {
  count = local.has_load_balancer ? 1 : 0

  project               = local.project
  name                  = "rollouts-proxy"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  target                = google_compute_target_https_proxy.proxy[0].id
  port_range            = "443"
  labels                = local.labels
}
