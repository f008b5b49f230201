# An app on wdk-cloud in an AWS account: its two functions. Beside it data.tf (table, bucket), queues.tf, schedules.tf,
# iam.tf (roles), alarms.tf; the same system as infra/aws/sam/template.yaml.

locals {
  # The version of wdk-cloud: `wdk doctor` compares that of the code with it.
  template = "0.1.0"

  worker_environment = {
    # Sets and dicts iterate alike in every process that runs bodies of workflows.
    PYTHONHASHSEED             = "0"
    WDK_AWS_TEMPLATE           = local.template
    POWERTOOLS_SERVICE_NAME    = var.name
    WDK_WORLD                  = "aws"
    WDK_ROLE                   = "worker"
    WDK_RETENTION              = "${var.retention_days} days"
    WDK_PUBLIC_URL             = var.public_url != "" ? var.public_url : aws_lambda_function_url.receiver.function_url
    WDK_AWS_TABLE              = aws_dynamodb_table.runs.name
    WDK_AWS_FLOW_QUEUE_URL     = aws_sqs_queue.flow.url
    WDK_AWS_STEP_QUEUE_URL     = aws_sqs_queue.step.url
    WDK_AWS_BUCKET             = aws_s3_bucket.objects.id
    WDK_AWS_SCHEDULER_GROUP    = aws_scheduler_schedule_group.timers.name
    WDK_AWS_SCHEDULER_ROLE_ARN = aws_iam_role.role["timers"].arn
  }
  receiver_environment = {
    POWERTOOLS_SERVICE_NAME = var.name
    WDK_AWS_TEMPLATE        = local.template
    WDK_WORLD               = "aws"
    WDK_ROLE                = "receiver"
    WDK_RETENTION           = "${var.retention_days} days"
    WDK_AWS_TABLE           = aws_dynamodb_table.runs.name
    WDK_AWS_FLOW_QUEUE_URL  = aws_sqs_queue.flow.url
    WDK_AWS_BUCKET          = aws_s3_bucket.objects.id
  }
  with_key        = var.kms_key_arn == "" ? {} : { WDK_AWS_KMS_KEY_ID = var.kms_key_arn }
  with_public_url = var.public_url == "" ? {} : { WDK_PUBLIC_URL = var.public_url }
}

# --- the worker, with the API ---

resource "aws_lambda_function" "worker" {
  #checkov:skip=CKV_AWS_50:traces cost per request; each run has its log, and OpenTelemetry where the app wants it
  #checkov:skip=CKV_AWS_115:reserved by concurrency, unless the account is too small for it
  #checkov:skip=CKV_AWS_117:in a VPC where subnet_ids names one; it talks to AWS's APIs alone
  #checkov:skip=CKV_AWS_173:its variables are names of resources, no secrets
  #checkov:skip=CKV_AWS_272:who may deploy is said by IAM; a signing profile is the account's to ask for
  function_name                  = "${var.name}-worker"
  description                    = "Runs workflows and steps, and answers the API"
  role                           = aws_iam_role.role["worker"].arn
  filename                       = var.package
  source_code_hash               = filebase64sha256(var.package)
  handler                        = "wdk_aws.handler.handler"
  runtime                        = "python${var.python_version}"
  architectures                  = [var.architecture]
  memory_size                    = var.worker_memory
  timeout                        = var.worker_timeout
  reserved_concurrent_executions = local.at_once.worker
  tags                           = local.tags

  environment {
    variables = merge(local.worker_environment, local.with_key, var.environment)
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.worker.name
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.tick_dead.arn
  }

  dynamic "vpc_config" {
    for_each = local.networks
    content {
      subnet_ids         = var.subnet_ids
      security_group_ids = var.security_group_ids
    }
  }

  # Lambda asks the role for the right to send to the dead letters, and to make interfaces, when it makes the function.
  depends_on = [aws_iam_role_policy.worker, aws_iam_role_policy_attachment.network]

  lifecycle {
    precondition {
      condition     = (length(var.subnet_ids) == 0) == (length(var.security_group_ids) == 0)
      error_message = "Functions in a VPC need both subnet_ids and security_group_ids."
    }
  }
}

# A turn sends messages to its own queue: Lambda would take that for a loop and stop it after 16 rounds. The engine has a
# limit of its own: 100 rounds without progress.
resource "aws_lambda_function_recursion_config" "worker" {
  function_name  = aws_lambda_function.worker.function_name
  recursive_loop = "Allow"
}

resource "aws_lambda_function_event_invoke_config" "worker" {
  function_name                = aws_lambda_function.worker.function_name
  qualifier                    = "$LATEST"
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2
}

resource "aws_lambda_function_url" "worker" {
  function_name      = aws_lambda_function.worker.function_name
  authorization_type = "AWS_IAM"
  invoke_mode        = "BUFFERED"
}

# One message each: a neighbour that runs out of memory must not cost another run an attempt.
locals {
  consumed = {
    flow      = { queue = aws_sqs_queue.flow.arn, at_once = local.at_once.flow }
    step      = { queue = aws_sqs_queue.step.arn, at_once = local.at_once.step }
    dead_flow = { queue = aws_sqs_queue.flow_dead.arn, at_once = 2 }
    dead_step = { queue = aws_sqs_queue.step_dead.arn, at_once = 2 }
  }
}

resource "aws_lambda_event_source_mapping" "queue" {
  for_each = local.consumed

  event_source_arn        = each.value.queue
  function_name           = aws_lambda_function.worker.function_name
  batch_size              = 1
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = each.value.at_once
  }

  # Else Lambda would stop the first turns as a loop.
  depends_on = [aws_lambda_function_recursion_config.worker]
}

resource "aws_cloudwatch_log_group" "worker" {
  #checkov:skip=CKV_AWS_158:log lines carry ids and no payloads
  #checkov:skip=CKV_AWS_338:log_days says for how long; a year of them is dear, and runs are in the table
  name              = "/aws/lambda/${var.name}-worker"
  retention_in_days = var.log_days
}

# --- the receiver of webhooks: public, and allowed next to nothing ---

resource "aws_lambda_function" "receiver" {
  #checkov:skip=CKV_AWS_50:traces cost per request; each run has its log, and OpenTelemetry where the app wants it
  #checkov:skip=CKV_AWS_115:reserved by concurrency, unless the account is too small for it
  #checkov:skip=CKV_AWS_116:nobody invokes it asynchronously
  #checkov:skip=CKV_AWS_117:in a VPC where subnet_ids names one; it talks to AWS's APIs alone
  #checkov:skip=CKV_AWS_173:its variables are names of resources, no secrets
  #checkov:skip=CKV_AWS_272:who may deploy is said by IAM; a signing profile is the account's to ask for
  function_name    = "${var.name}-receiver"
  description      = "Takes webhooks from everybody"
  role             = aws_iam_role.role["receiver"].arn
  filename         = var.package
  source_code_hash = filebase64sha256(var.package)
  handler          = "wdk_aws.handler.handler"
  runtime          = "python${var.python_version}"
  architectures    = [var.architecture]
  memory_size      = var.receiver_memory
  # A webhook that is answered by a step waits for it, 25 seconds unless it says otherwise.
  timeout                        = 30
  reserved_concurrent_executions = local.at_once.receiver
  tags                           = local.tags

  environment {
    variables = merge(local.receiver_environment, local.with_public_url, local.with_key)
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.receiver.name
  }

  dynamic "vpc_config" {
    for_each = local.networks
    content {
      subnet_ids         = var.subnet_ids
      security_group_ids = var.security_group_ids
    }
  }

  depends_on = [aws_iam_role_policy.receiver, aws_iam_role_policy_attachment.network]
}

resource "aws_lambda_function_url" "receiver" {
  #checkov:skip=CKV_AWS_258:the receiver's URL is public by its purpose; that no other one is has a test of its own
  function_name      = aws_lambda_function.receiver.function_name
  authorization_type = "NONE"
  invoke_mode        = "BUFFERED"
}

resource "aws_lambda_permission" "public" {
  #checkov:skip=CKV_AWS_301:senders of webhooks have no account; only the receiver is open, and it may do next to nothing
  statement_id           = "public-url"
  function_name          = aws_lambda_function.receiver.function_name
  action                 = "lambda:InvokeFunctionUrl"
  principal              = "*"
  function_url_auth_type = "NONE"
}

# A public URL needs two rights, and this one only for those who come by the URL. aws_lambda_permission can say so from
# 6.29 of the provider on, and without the condition everybody could invoke the function directly: so CloudFormation says
# it, which works with each version.
resource "aws_cloudformation_stack" "public" {
  #checkov:skip=CKV_AWS_124:it changes only when Terraform changes it, which waits for the outcome
  name = "${var.name}-public-url"

  template_body = jsonencode({
    Resources = { Permission = { Type = "AWS::Lambda::Permission", Properties = local.by_url } }
  })
}

locals {
  by_url = {
    FunctionName          = aws_lambda_function.receiver.function_name
    Action                = "lambda:InvokeFunction"
    Principal             = "*"
    InvokedViaFunctionUrl = true
  }
}

resource "aws_cloudwatch_log_group" "receiver" {
  #checkov:skip=CKV_AWS_158:log lines carry ids and no payloads
  #checkov:skip=CKV_AWS_338:log_days says for how long; a year of them is dear, and runs are in the table
  name              = "/aws/lambda/${var.name}-receiver"
  retention_in_days = var.log_days
}
