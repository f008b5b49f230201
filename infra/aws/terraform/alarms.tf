# Each alarm has its place in docs/operations.md, which says what it means and what to type first.

locals {
  alarm_actions = [for topic in [var.alarm_topic_arn] : topic if topic != ""]

  alarms = {
    dead_letters = {
      says       = "A message was received 1,000 times; its run was woken again; docs/operations.md#dead-letters"
      namespace  = "wdk-cloud"
      metric     = "DeadLetters"
      dimensions = { service = var.name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 1
      to_alarm   = null
      threshold  = 0
    }
    stuck_dead_letters = {
      says       = "A dead letter that nobody takes; docs/operations.md#dead-letters"
      namespace  = "AWS/SQS"
      metric     = "ApproximateAgeOfOldestMessage"
      dimensions = { QueueName = aws_sqs_queue.flow_dead.name }
      statistic  = "Maximum"
      period     = 300
      evaluated  = 3
      to_alarm   = null
      threshold  = 3600
    }
    stuck_dead_steps = {
      says       = "A dead letter of a step that nobody takes; docs/operations.md#dead-letters"
      namespace  = "AWS/SQS"
      metric     = "ApproximateAgeOfOldestMessage"
      dimensions = { QueueName = aws_sqs_queue.step_dead.name }
      statistic  = "Maximum"
      period     = 300
      evaluated  = 3
      to_alarm   = null
      threshold  = 3600
    }
    failed_ticks = {
      says       = "A sweep or a tick of a schedule reached no worker; docs/operations.md#failed-ticks"
      namespace  = "AWS/SQS"
      metric     = "ApproximateNumberOfMessagesVisible"
      dimensions = { QueueName = aws_sqs_queue.tick_dead.name }
      statistic  = "Maximum"
      period     = 300
      evaluated  = 1
      to_alarm   = null
      threshold  = 0
    }
    swept_runs = {
      says       = "A run made no progress and the sweep had to wake it; docs/operations.md#swept-runs"
      namespace  = "wdk-cloud"
      metric     = "SweptRuns"
      dimensions = { service = var.name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 1
      to_alarm   = null
      threshold  = 0
    }
    foreign_messages = {
      says       = "A message that is none of ours was in a queue; docs/operations.md#foreign-messages"
      namespace  = "wdk-cloud"
      metric     = "ForeignMessages"
      dimensions = { service = var.name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 1
      to_alarm   = null
      threshold  = 0
    }
    missing_code = {
      says       = "The code of the app cannot be imported; docs/operations.md#missing-code"
      namespace  = "wdk-cloud"
      metric     = "MissingCode"
      dimensions = { service = var.name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 1
      to_alarm   = null
      threshold  = 0
    }
    failed_runs = {
      says       = "More than five runs failed within five minutes; docs/operations.md#failed-runs"
      namespace  = "wdk-cloud"
      metric     = "FailedRuns-${var.name}"
      dimensions = {}
      statistic  = "Sum"
      period     = 300
      evaluated  = 1
      to_alarm   = null
      threshold  = 5
    }
    worker_errors = {
      says       = "The worker function raised, ran out of memory or of time; docs/operations.md#function-errors"
      namespace  = "AWS/Lambda"
      metric     = "Errors"
      dimensions = { FunctionName = aws_lambda_function.worker.function_name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 3
      to_alarm   = 2
      threshold  = 3
    }
    receiver_errors = {
      says       = "The receiver raised, ran out of memory or of time; docs/operations.md#function-errors"
      namespace  = "AWS/Lambda"
      metric     = "Errors"
      dimensions = { FunctionName = aws_lambda_function.receiver.function_name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 3
      to_alarm   = 2
      threshold  = 3
    }
    worker_throttles = {
      says       = "Lambda had no room for the worker; docs/operations.md#throttles"
      namespace  = "AWS/Lambda"
      metric     = "Throttles"
      dimensions = { FunctionName = aws_lambda_function.worker.function_name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 3
      to_alarm   = 2
      threshold  = 10
    }
    receiver_throttles = {
      says       = "Webhooks were answered with 429; docs/operations.md#throttles"
      namespace  = "AWS/Lambda"
      metric     = "Throttles"
      dimensions = { FunctionName = aws_lambda_function.receiver.function_name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 3
      to_alarm   = 2
      threshold  = 0
    }
    timers = {
      says       = "EventBridge Scheduler could not deliver a timer; docs/operations.md#timers"
      namespace  = "AWS/Scheduler"
      metric     = "TargetErrorCount"
      dimensions = { ScheduleGroup = aws_scheduler_schedule_group.timers.name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 1
      to_alarm   = null
      threshold  = 0
    }
    dropped_timers = {
      says       = "EventBridge Scheduler has given up a timer; docs/operations.md#timers"
      namespace  = "AWS/Scheduler"
      metric     = "InvocationDroppedCount"
      dimensions = { ScheduleGroup = aws_scheduler_schedule_group.timers.name }
      statistic  = "Sum"
      period     = 300
      evaluated  = 1
      to_alarm   = null
      threshold  = 0
    }
  }

  waiting = {
    visible = {
      stat       = "Minimum"
      period     = 60
      namespace  = "AWS/SQS"
      metric     = "ApproximateNumberOfMessagesVisible"
      dimensions = { QueueName = aws_sqs_queue.flow.name }
    }
    age = {
      stat       = "Maximum"
      period     = 60
      namespace  = "AWS/SQS"
      metric     = "ApproximateAgeOfOldestMessage"
      dimensions = { QueueName = aws_sqs_queue.flow.name }
    }
  }

  spent = {
    worker = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/Lambda"
      metric     = "Duration"
      dimensions = { FunctionName = aws_lambda_function.worker.function_name }
    }
    receiver = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/Lambda"
      metric     = "Duration"
      dimensions = { FunctionName = aws_lambda_function.receiver.function_name }
    }
    calls = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/Lambda"
      metric     = "Invocations"
      dimensions = { FunctionName = aws_lambda_function.worker.function_name }
    }
    webhooks = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/Lambda"
      metric     = "Invocations"
      dimensions = { FunctionName = aws_lambda_function.receiver.function_name }
    }
    writes = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/DynamoDB"
      metric     = "ConsumedWriteCapacityUnits"
      dimensions = { TableName = aws_dynamodb_table.runs.name }
    }
    listed = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/DynamoDB"
      metric     = "ConsumedWriteCapacityUnits"
      dimensions = { TableName = aws_dynamodb_table.runs.name, GlobalSecondaryIndexName = "runs" }
    }
    waking = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/DynamoDB"
      metric     = "ConsumedWriteCapacityUnits"
      dimensions = { TableName = aws_dynamodb_table.runs.name, GlobalSecondaryIndexName = "active" }
    }
    reads = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/DynamoDB"
      metric     = "ConsumedReadCapacityUnits"
      dimensions = { TableName = aws_dynamodb_table.runs.name }
    }
    turns = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/SQS"
      metric     = "NumberOfMessagesSent"
      dimensions = { QueueName = aws_sqs_queue.flow.name }
    }
    steps = {
      stat       = "Sum"
      period     = 3600
      namespace  = "AWS/SQS"
      metric     = "NumberOfMessagesSent"
      dimensions = { QueueName = aws_sqs_queue.step.name }
    }
  }

}

resource "aws_cloudwatch_metric_alarm" "alarm" {
  #checkov:skip=CKV_AWS_319:actions are enabled unless somebody disables them
  for_each = var.alarms ? local.alarms : {}

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.says
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.evaluated
  datapoints_to_alarm = each.value.to_alarm
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

resource "aws_cloudwatch_log_metric_filter" "failed_runs" {
  count = var.alarms ? 1 : 0

  name           = "${var.name}-failed-runs"
  log_group_name = aws_cloudwatch_log_group.worker.name
  pattern        = "{ $.wdk_failed = * }"

  metric_transformation {
    namespace = "wdk-cloud"
    name      = "FailedRuns-${var.name}"
    value     = "1"
  }
}

# What is in flight counts by its age, too, and a long step keeps its message: so only while messages wait.
resource "aws_cloudwatch_metric_alarm" "old_messages" {
  count = var.alarms ? 1 : 0

  alarm_name          = "${var.name}-old_messages"
  alarm_description   = "A flow message has waited for more than a minute; docs/operations.md#old-messages"
  evaluation_periods  = 3
  threshold           = 60
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions

  metric_query {
    id          = "waiting"
    label       = "Age of the oldest flow message while some wait"
    expression  = "IF(visible > 0, age, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.waiting
    content {
      id          = metric_query.key
      return_data = false
      metric {
        stat        = metric_query.value.stat
        period      = metric_query.value.period
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.metric
        dimensions  = metric_query.value.dimensions
      }
    }
  }
}

# An estimate at list prices, so that a loop is seen the same hour; the bill itself comes a day later. Prices are those
# of us-east-1: a GB-second on x86_64, a request to Lambda, a write and a read unit on demand, and for each message three
# requests to SQS (send, receive, delete).
resource "aws_cloudwatch_metric_alarm" "spend" {
  count = var.alarms ? 1 : 0

  alarm_name          = "${var.name}-spend"
  alarm_description   = "At the rate of this hour a day is dearer than it may be; docs/operations.md#spend"
  evaluation_periods  = 1
  threshold           = var.dollars_per_day
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions

  metric_query {
    id          = "dollars"
    label       = "Dollars a day at the rate of this hour"
    expression  = "24 * (0.0000166667 * (${var.worker_memory} * FILL(worker, 0) + ${var.receiver_memory} * FILL(receiver, 0)) / 1024 / 1000 + 0.0000002 * (FILL(calls, 0) + FILL(webhooks, 0)) + 0.000000625 * (FILL(writes, 0) + FILL(listed, 0) + FILL(waking, 0)) + 0.000000125 * FILL(reads, 0) + 3 * 0.0000004 * (FILL(turns, 0) + FILL(steps, 0)))"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.spent
    content {
      id          = metric_query.key
      return_data = false
      metric {
        stat        = metric_query.value.stat
        period      = metric_query.value.period
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.metric
        dimensions  = metric_query.value.dimensions
      }
    }
  }
}

