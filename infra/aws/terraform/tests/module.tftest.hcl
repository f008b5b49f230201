# With a provider that answers nothing; `terraform test` wants the aws provider for its schema, and no account.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { id = "eu-west-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  package = "tests/empty.zip"
}

run "by_default" {
  command = plan

  assert {
    condition     = aws_lambda_function_url.worker.authorization_type == "AWS_IAM" && aws_lambda_function_url.receiver.authorization_type == "NONE"
    error_message = "Only the receiver is public."
  }
  assert {
    condition     = aws_lambda_function.worker.reserved_concurrent_executions == 60 && aws_lambda_event_source_mapping.queue["flow"].scaling_config[0].maximum_concurrency == 25
    error_message = "The row of medium counts."
  }
  assert {
    condition     = aws_dynamodb_table.runs.deletion_protection_enabled && !aws_s3_bucket.objects.force_destroy
    error_message = "Data is protected."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.alarm) == 14 && length(aws_cloudwatch_metric_alarm.spend) == 1 && length(aws_cloudwatch_metric_alarm.old_messages) == 1
    error_message = "There are alarms."
  }
  assert {
    condition     = length(aws_lambda_function.worker.vpc_config) == 0 && length(aws_iam_role_policy_attachment.network) == 0
    error_message = "There is no VPC."
  }
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.objects.rule[0].expiration[0].days == 60
    error_message = "Objects expire after 60 days."
  }
}

run "with_all" {
  command = plan

  variables {
    name                 = "orders"
    concurrency          = "unreserved"
    retention_days       = "365"
    kms_key_arn          = "arn:aws:kms:eu-west-1:123456789012:key/0000"
    subnet_ids           = ["subnet-1"]
    security_group_ids   = ["sg-1"]
    permissions_boundary = "arn:aws:iam::123456789012:policy/bound"
    alarms               = false
    deletion_protection  = false
    schedules            = [{ name = "nightly-1", workflow = "nightly", expression = "cron(30 2 * * ? *)", timezone = "Europe/Berlin" }]
  }

  assert {
    condition     = aws_lambda_function.worker.reserved_concurrent_executions == -1 && aws_lambda_function.receiver.reserved_concurrent_executions == -1
    error_message = "Nothing is reserved."
  }
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.objects.rule[0].expiration[0].days == 730
    error_message = "Objects are kept twice as long as runs."
  }
  assert {
    condition     = keys(aws_iam_role_policy_attachment.network) == ["receiver", "worker"] && length(aws_lambda_function.receiver.vpc_config) == 1
    error_message = "Both functions are in the VPC."
  }
  assert {
    condition     = alltrue([for role in aws_iam_role.role : role.permissions_boundary == "arn:aws:iam::123456789012:policy/bound"])
    error_message = "Each role is bounded."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.alarm) == 0 && length(aws_cloudwatch_log_metric_filter.failed_runs) == 0
    error_message = "There are no alarms."
  }
  assert {
    condition     = jsondecode(aws_scheduler_schedule.tick["nightly-1"].target[0].input).tick.time == "<aws.scheduler.scheduled-time>"
    error_message = "A tick has its time."
  }
}

run "a_vpc_needs_security_groups" {
  command = plan

  variables {
    subnet_ids = ["subnet-1"]
  }

  expect_failures = [aws_lambda_function.worker]
}

run "security_groups_need_a_vpc" {
  command = plan

  variables {
    security_group_ids = ["sg-1"]
  }

  expect_failures = [aws_lambda_function.worker]
}

run "a_retention_that_is_none" {
  command = plan

  variables {
    retention_days = "31"
  }

  expect_failures = [var.retention_days]
}
