# Who may do what: the actions are those of wdk_aws/rights.py; a test compares them. Every role is written out: no managed
# policy but the one that a function in a VPC needs, and no action on all resources.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  trusts = {
    worker   = [{ Effect = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole" }]
    receiver = [{ Effect = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole" }]
    # The source is the group: Scheduler names no single schedule, and without a source anybody's would do.
    timers = [
      {
        Effect    = "Allow"
        Principal = { Service = "scheduler.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = data.aws_caller_identity.current.account_id
            "aws:SourceArn"     = aws_scheduler_schedule_group.timers.arn
          }
        }
      },
    ]
    ticks = [
      {
        Effect    = "Allow"
        Principal = { Service = "scheduler.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = data.aws_caller_identity.current.account_id
            "aws:SourceArn"     = aws_scheduler_schedule_group.ticks.arn
          }
        }
      },
    ]
  }

  # A right to write lines is one on what is in a log group, which the mark at the end says.
  worker_statements = [
    {
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.worker.arn}:*"
    },
    {
      Sid    = "Runs"
      Effect = "Allow"
      Action = [
        "dynamodb:BatchGetItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
      ]
      Resource = aws_dynamodb_table.runs.arn
    },
    {
      Sid      = "Lists"
      Effect   = "Allow"
      Action   = "dynamodb:Query"
      Resource = ["${aws_dynamodb_table.runs.arn}/index/runs", "${aws_dynamodb_table.runs.arn}/index/active"]
    },
    {
      Sid    = "Messages"
      Effect = "Allow"
      Action = [
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ChangeMessageVisibility",
        "sqs:SendMessage",
      ]
      Resource = [aws_sqs_queue.flow.arn, aws_sqs_queue.step.arn]
    },
    {
      Sid      = "DeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
      Resource = [aws_sqs_queue.flow_dead.arn, aws_sqs_queue.step_dead.arn]
    },
    {
      Sid      = "FailedTicks"
      Effect   = "Allow"
      Action   = "sqs:SendMessage"
      Resource = aws_sqs_queue.tick_dead.arn
    },
    {
      Sid      = "Objects"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
      Resource = "${aws_s3_bucket.objects.arn}/*"
    },
    # Without it S3 says 403 where it means 404, and a reader asks for what comes next.
    {
      Sid      = "AbsentObjects"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = aws_s3_bucket.objects.arn
    },
    {
      Sid      = "Timers"
      Effect   = "Allow"
      Action   = "scheduler:CreateSchedule"
      Resource = "arn:${data.aws_partition.current.partition}:scheduler:${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}:schedule/${aws_scheduler_schedule_group.timers.name}/*"
    },
    {
      Sid       = "TimersSendAsTheirRole"
      Effect    = "Allow"
      Action    = "iam:PassRole"
      Resource  = aws_iam_role.role["timers"].arn
      Condition = { StringEquals = { "iam:PassedToService" = "scheduler.amazonaws.com" } }
    },
  ]

  receiver_statements = [
    {
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.receiver.arn}:*"
    },
    {
      Sid      = "TokensInboxesAndReplies"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
      Resource = aws_dynamodb_table.runs.arn
    },
    {
      Sid      = "Messages"
      Effect   = "Allow"
      Action   = "sqs:SendMessage"
      Resource = aws_sqs_queue.flow.arn
    },
    {
      Sid      = "LargeBodies"
      Effect   = "Allow"
      Action   = "s3:PutObject"
      Resource = "${aws_s3_bucket.objects.arn}/*"
    },
  ]

  # Where there is a key; the receiver seals and opens nothing.
  worker_key = [
    { Sid = "Keys", Effect = "Allow", Action = ["kms:GenerateDataKey", "kms:Decrypt"], Resource = var.kms_key_arn },
  ]
  receiver_key = [
    { Sid = "Keys", Effect = "Allow", Action = "kms:GenerateDataKey", Resource = var.kms_key_arn },
  ]

  timers_statements = [
    {
      Effect = "Allow"
      Action = "sqs:SendMessage"
      Resource = [
        aws_sqs_queue.flow.arn,
        aws_sqs_queue.flow_dead.arn,
        aws_sqs_queue.step.arn,
        aws_sqs_queue.step_dead.arn,
      ]
    },
  ]
  ticks_statements = [
    { Effect = "Allow", Action = "lambda:InvokeFunction", Resource = aws_lambda_function.worker.arn },
    { Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.tick_dead.arn },
  ]
}

resource "aws_iam_role" "role" {
  for_each = local.trusts

  name                 = "${var.name}-${each.key}"
  assume_role_policy   = jsonencode({ Version = "2012-10-17", Statement = each.value })
  permissions_boundary = var.permissions_boundary == "" ? null : var.permissions_boundary
}

resource "aws_iam_role_policy_attachment" "network" {
  for_each = length(var.subnet_ids) == 0 ? toset([]) : toset(["worker", "receiver"])

  role       = aws_iam_role.role[each.key].name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaENIManagementAccess"
}

resource "aws_iam_role_policy" "worker" {
  name   = "worker"
  role   = aws_iam_role.role["worker"].id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.worker_statements, [for one in local.worker_key : one if var.kms_key_arn != ""]) })
}

resource "aws_iam_role_policy" "receiver" {
  name   = "receiver"
  role   = aws_iam_role.role["receiver"].id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.receiver_statements, [for one in local.receiver_key : one if var.kms_key_arn != ""]) })
}

resource "aws_iam_role_policy" "timers" {
  name   = "timers"
  role   = aws_iam_role.role["timers"].id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.timers_statements })
}

resource "aws_iam_role_policy" "ticks" {
  name   = "ticks"
  role   = aws_iam_role.role["ticks"].id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.ticks_statements })
}
