# What brings messages: two queues, with the retry settings of wdk_gcp/schema.py, and jobs that call by the clock.

resource "google_cloud_tasks_queue" "queue" {
  for_each = local.queues

  project  = var.project
  location = var.location
  name     = each.value

  rate_limits {
    max_concurrent_dispatches = each.key == "flow" ? local.turns_at_once : local.steps_at_once
    max_dispatches_per_second = 500
  }

  # Whatever our own retry handles is answered with 200: a task comes back only when its service is gone.
  retry_config {
    max_attempts  = -1
    min_backoff   = "1s"
    max_backoff   = "60s"
    max_doublings = 6
  }

  depends_on = [google_project_service.api]
}

resource "google_cloud_scheduler_job" "sweep" {
  project          = var.project
  region           = local.scheduler_location
  name             = "${var.name}-sweep"
  description      = "Wakes runs that show no progress, and keeps what belongs to live ones from expiring"
  schedule         = "*/5 * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "1800s"

  # The next one comes in five minutes.
  retry_config {
    retry_count = 0
  }

  http_target {
    http_method = "POST"
    uri         = "${local.worker_url}${local.sweep_route}"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode("{}")

    oidc_token {
      service_account_email = google_service_account.invoker.email
      audience              = local.audience
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_cloud_scheduler_job" "tick" {
  for_each = local.ticks

  project          = var.project
  region           = local.scheduler_location
  name             = "${var.name}-${each.key}"
  description      = "A tick of ${each.value.workflow}"
  schedule         = each.value.schedule
  time_zone        = each.value.time_zone
  attempt_deadline = "1800s"

  # A tick is one run, however often it is told: so it is told again for an hour.
  retry_config {
    retry_count          = 5
    max_retry_duration   = "3600s"
    min_backoff_duration = "10s"
    max_backoff_duration = "600s"
    max_doublings        = 5
  }

  http_target {
    http_method = "POST"
    uri         = "${local.worker_url}${local.tick_route}"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode({ workflow = each.value.workflow, exact = true }))

    oidc_token {
      service_account_email = google_service_account.invoker.email
      audience              = local.audience
    }
  }

  depends_on = [google_project_service.api]
}
