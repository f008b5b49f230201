# An app on wdk-cloud in a project of Google Cloud: the services of Cloud Run. Beside it data.tf (database, bucket),
# queues.tf (queues, jobs of Cloud Scheduler), iam.tf (accounts and rights), alerts.tf.

data "google_project" "this" {
  project_id = var.project
}

locals {
  project_number = data.google_project.this.number

  environment = {
    WDK_WORLD          = "gcp"
    WDK_RETENTION      = "${var.retention_days} days"
    WDK_PUBLIC_URL     = local.public_url
    WDK_GCP_PROJECT    = var.project
    WDK_GCP_LOCATION   = var.location
    WDK_GCP_DATABASE   = google_firestore_database.runs.name
    WDK_GCP_FLOW_QUEUE = google_cloud_tasks_queue.queue["flow"].name
    WDK_GCP_BUCKET     = google_storage_bucket.objects.name
    WDK_GCP_WORKER_URL = local.worker_url
    WDK_GCP_INVOKER    = google_service_account.invoker.email
    WDK_GCP_KMS_KEY    = var.payload_key
  }
  worker_environment = {
    WDK_GCP_SERVICES   = var.mode
    WDK_GCP_STEP_QUEUE = google_cloud_tasks_queue.queue["step"].name
    WDK_GCP_STEP_URL   = local.step_url
  }
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)

  project            = var.project
  service            = each.value
  disable_on_destroy = false
}

resource "google_cloud_run_v2_service" "service" {
  for_each = local.services

  project             = var.project
  location            = var.location
  name                = local.service_names[each.key]
  ingress             = "INGRESS_TRAFFIC_ALL"
  custom_audiences    = [local.audience]
  deletion_protection = false
  labels              = var.labels

  template {
    service_account                  = google_service_account.service[each.value.account].email
    timeout                          = "1800s"
    max_instance_request_concurrency = each.value.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    labels                           = var.labels

    scaling {
      min_instance_count = 0
      max_instance_count = local.most[each.key]
    }

    dynamic "vpc_access" {
      for_each = var.subnetwork == "" ? [] : [var.subnetwork]
      content {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          subnetwork = vpc_access.value
        }
      }
    }

    containers {
      image = var.image

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = var.cpu, memory = var.memory }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 2
        failure_threshold = 60
        tcp_socket {
          port = 8080
        }
      }

      dynamic "env" {
        for_each = merge(
          local.environment,
          each.value.role == "receiver" ? {} : local.worker_environment,
          { WDK_ROLE = each.value.role, PYTHONHASHSEED = each.value.seed },
          each.value.role == "receiver" ? {} : var.environment,
        )
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = each.value.role == "receiver" ? {} : var.secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }
    }
  }

  # A service that starts before its rights are there fails its first requests.
  depends_on = [
    google_cloud_tasks_queue_iam_member.flow,
    google_cloud_tasks_queue_iam_member.step,
    google_kms_crypto_key_iam_member.receiver,
    google_kms_crypto_key_iam_member.worker,
    google_project_iam_member.documents,
    google_secret_manager_secret_iam_member.worker,
    google_service_account_iam_member.caller,
    google_storage_bucket_iam_member.objects,
  ]

  lifecycle {
    precondition {
      condition     = local.megabytes >= local.megabytes_of_cpu[var.cpu][0] && local.megabytes <= local.megabytes_of_cpu[var.cpu][1]
      error_message = "Invalid value specified for container memory. For ${var.cpu} CPU, memory must be between ${local.megabytes_of_cpu[var.cpu][0]}Mi and ${local.megabytes_of_cpu[var.cpu][1]}Mi inclusive."
    }

    precondition {
      condition     = length(local.set_twice) == 0
      error_message = "Environment variable name is duplicated: ${join(", ", local.set_twice)}. It is in environment and in secrets."
    }
  }
}

resource "google_secret_manager_secret_iam_member" "worker" {
  for_each = toset(values(var.secrets))

  project   = var.project
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.service["worker"].member
}
