# What somebody should look at; docs/gcp-operations.md says of each what it means and what to type first.

locals {
  operations = "docs/gcp-operations.md"

  # Lines of the services' logs that are counted.
  of_services = "resource.type=\"cloud_run_revision\" AND resource.labels.location=\"${var.location}\" AND resource.labels.service_name=(${join(" OR ", [for name in values(local.service_names) : "\"${name}\""])})"
  counted = {
    failed-runs = {
      filter    = "${local.of_services} AND jsonPayload.wdk_failed:*"
      threshold = 5
      says      = "More than five runs failed within five minutes"
    }
    swept-runs = {
      filter    = "${local.of_services} AND jsonPayload.wdk_count=\"SweptRuns\""
      threshold = 0
      says      = "A run made no progress and the sweep had to wake it"
    }
    foreign-messages = {
      filter    = "${local.of_services} AND jsonPayload.wdk_count=\"ForeignMessages\""
      threshold = 0
      says      = "A task that is none of ours came to a service"
    }
    refused-callers = {
      filter    = "${local.of_services} AND jsonPayload.wdk_count=\"RefusedCallers\""
      threshold = 0
      says      = "Somebody without the invoker's token called a route of the queues"
    }
    overdue-deliveries = {
      filter    = "${local.of_services} AND jsonPayload.wdk_count=\"OverdueDeliveries\""
      threshold = 0
      says      = "A delivery took longer than the 30 minutes of a task"
    }
    missing-code = {
      filter    = "${local.of_services} AND jsonPayload.wdk_count=\"MissingCode\""
      threshold = 0
      says      = "The code of the app cannot be imported"
    }
    failed-ticks = {
      filter    = "resource.type=\"cloud_scheduler_job\" AND resource.labels.location=\"${local.scheduler_location}\" AND resource.labels.job_id=~\"^${var.name}-\" AND severity>=ERROR"
      threshold = 0
      says      = "A sweep or a tick of a schedule reached no service"
    }
  }

  of_queues = "resource.type = \"cloud_tasks_queue\" AND resource.labels.queue_id = monitoring.regex.full_match(\"${var.name}-(flow|step)\")"
  of_runs   = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = monitoring.regex.full_match(\"${join("|", values(local.service_names))}\")"
  watched = {
    old-messages = {
      filter    = "metric.type = \"cloudtasks.googleapis.com/queue/task_attempt_delays\" AND ${local.of_queues}"
      aligner   = "ALIGN_PERCENTILE_99"
      reducer   = "REDUCE_MAX"
      threshold = 60000 # milliseconds
      duration  = "180s"
      says      = "A task is delivered more than a minute after its time"
    }
    full-queues = {
      filter    = "metric.type = \"cloudtasks.googleapis.com/queue/depth\" AND ${local.of_queues}"
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      threshold = 100000 # long sleeps lie in a queue, too
      duration  = "900s"
      says      = "A queue holds more than 100,000 tasks"
    }
    refused-messages = {
      filter    = "metric.type = \"cloudtasks.googleapis.com/queue/task_attempt_count\" AND metric.labels.response_code != \"200\" AND ${local.of_queues}"
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      threshold = 10
      duration  = "300s"
      says      = "Tasks come back: their service is gone, full, or refuses them"
    }
    service-errors = {
      filter    = "metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\" AND ${local.of_runs}"
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      threshold = 3
      duration  = "300s"
      says      = "A service answered with 5xx, ran out of memory or of time"
    }
  }
}

resource "google_logging_metric" "counted" {
  for_each = var.alerts ? local.counted : {}

  project     = var.project
  name        = "${var.name}/${each.key}"
  description = each.value.says
  filter      = each.value.filter

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.api]
}

# Cloud Monitoring does not know a metric in its first moments, refuses an alert on it ("could take up to 10 minutes"), and
# the provider does not try again: https://github.com/hashicorp/terraform-provider-google/issues/11102
resource "time_sleep" "until_metrics_are_known" {
  count = var.alerts ? 1 : 0

  create_duration = "90s"
  triggers        = { for name, metric in google_logging_metric.counted : name => metric.id }
}

resource "google_monitoring_alert_policy" "counted" {
  for_each = var.alerts ? local.counted : {}

  project               = var.project
  display_name          = "${var.name}: ${each.value.says}"
  combiner              = "OR"
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = each.value.says
    condition_threshold {
      filter          = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.counted[each.key].name}\" AND resource.type = \"${each.key == "failed-ticks" ? "cloud_scheduler_job" : "cloud_run_revision"}\""
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content = "${each.value.says}. ${local.operations}#${each.key}"
  }

  depends_on = [time_sleep.until_metrics_are_known]
}

resource "google_monitoring_alert_policy" "watched" {
  for_each = var.alerts ? local.watched : {}

  project               = var.project
  display_name          = "${var.name}: ${each.value.says}"
  combiner              = "OR"
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = each.value.says
    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = each.value.duration
      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }

  documentation {
    content = "${each.value.says}. ${local.operations}#${each.key}"
  }

  depends_on = [google_project_service.api]
}

resource "google_billing_budget" "project" {
  count = var.billing_account == "" ? 0 : 1

  billing_account = var.billing_account
  display_name    = "${var.name} in ${var.project}"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  threshold_rules {
    threshold_percent = 0.5
  }
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  depends_on = [google_project_service.api]
}
