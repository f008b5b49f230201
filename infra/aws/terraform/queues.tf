# Messages carry ids, no payloads. One is invisible for a minute longer than a function may take, as the mapping asks; a
# delivery shortens that for its own, so that a worker that dies costs a run a minute and not sixteen. Dead letters have
# the name of their queue and `-dead`: Scheduler's go there, too.

resource "aws_sqs_queue" "flow" {
  #checkov:skip=CKV_AWS_27:SSE-SQS; a KMS key would let the receiver decrypt
  name                       = "${var.name}-flow"
  visibility_timeout_seconds = 960
  message_retention_seconds  = 1209600
  sqs_managed_sse_enabled    = true
  redrive_policy             = jsonencode({ deadLetterTargetArn = aws_sqs_queue.flow_dead.arn, maxReceiveCount = 1000 })
  tags                       = local.tags
}

resource "aws_sqs_queue" "flow_dead" {
  #checkov:skip=CKV_AWS_27:SSE-SQS; a KMS key would let the receiver decrypt
  name                       = "${var.name}-flow-dead"
  visibility_timeout_seconds = 960
  message_retention_seconds  = 1209600
  sqs_managed_sse_enabled    = true
  tags                       = local.tags
}

resource "aws_sqs_queue" "step" {
  #checkov:skip=CKV_AWS_27:SSE-SQS; a KMS key would let the receiver decrypt
  name                       = "${var.name}-step"
  visibility_timeout_seconds = 960
  message_retention_seconds  = 1209600
  sqs_managed_sse_enabled    = true
  redrive_policy             = jsonencode({ deadLetterTargetArn = aws_sqs_queue.step_dead.arn, maxReceiveCount = 1000 })
  tags                       = local.tags
}

resource "aws_sqs_queue" "step_dead" {
  #checkov:skip=CKV_AWS_27:SSE-SQS; a KMS key would let the receiver decrypt
  name                       = "${var.name}-step-dead"
  visibility_timeout_seconds = 960
  message_retention_seconds  = 1209600
  sqs_managed_sse_enabled    = true
  tags                       = local.tags
}

# Sweeps and ticks that reached no worker: nobody consumes them, an alarm tells of them.
resource "aws_sqs_queue" "tick_dead" {
  #checkov:skip=CKV_AWS_27:SSE-SQS; a KMS key would let the receiver decrypt
  name                      = "${var.name}-tick-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

