# Times. The worker makes and removes schedules in the first group. Those of this module lie in a group of their own, where
# it can remove none.

resource "aws_scheduler_schedule_group" "timers" {
  name = "${var.name}-timers"
  tags = local.tags
}

resource "aws_scheduler_schedule_group" "ticks" {
  name = "${var.name}-ticks"
  tags = local.tags
}

# Wakes runs that show no progress, and there should be none: an alarm counts them. Once a day it also writes anew what
# belongs to live runs and would expire soon.
resource "aws_scheduler_schedule" "sweep" {
  #checkov:skip=CKV_AWS_297:what it sends is in this file, and no secret
  name                = "sweep"
  group_name          = aws_scheduler_schedule_group.ticks.name
  schedule_expression = "rate(5 minutes)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.worker.arn
    role_arn = aws_iam_role.role["ticks"].arn
    input    = "{\"sweep\": {}}"

    # Then the next one comes.
    retry_policy {
      maximum_event_age_in_seconds = 300
      maximum_retry_attempts       = 3
    }

    dead_letter_config {
      arn = aws_sqs_queue.tick_dead.arn
    }
  }
}

# The schedules of the app.
resource "aws_scheduler_schedule" "tick" {
  #checkov:skip=CKV_AWS_297:it sends the name of a workflow and the time
  for_each = local.ticks

  name                         = each.key
  group_name                   = aws_scheduler_schedule_group.ticks.name
  description                  = "A tick of ${each.value.workflow}"
  schedule_expression          = each.value.expression
  schedule_expression_timezone = each.value.timezone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.worker.arn
    role_arn = aws_iam_role.role["ticks"].arn
    # Scheduler replaces the time by its name in angle brackets, which jsonencode would write as escapes.
    input = "{\"tick\": {\"workflow\": ${jsonencode(each.value.workflow)}, \"time\": \"<aws.scheduler.scheduled-time>\", \"exact\": true}}"

    dead_letter_config {
      arn = aws_sqs_queue.tick_dead.arn
    }
  }
}
