output "webhook_url" {
  description = "Where webhooks come in, and health."
  value       = aws_lambda_function_url.receiver.function_url
}

output "api_url" {
  description = "The API, for whoever may lambda:InvokeFunctionUrl on the worker and signs requests."
  value       = aws_lambda_function_url.worker.function_url
}

output "worker_name" {
  description = "Name of the worker function."
  value       = aws_lambda_function.worker.function_name
}

output "receiver_name" {
  description = "Name of the receiver function."
  value       = aws_lambda_function.receiver.function_name
}

output "worker_logs" {
  description = "Log group of the worker."
  value       = aws_cloudwatch_log_group.worker.name
}

output "receiver_logs" {
  description = "Log group of the receiver."
  value       = aws_cloudwatch_log_group.receiver.name
}

output "table_name" {
  description = "WDK_AWS_TABLE of a client."
  value       = aws_dynamodb_table.runs.name
}

output "flow_queue_url" {
  description = "WDK_AWS_FLOW_QUEUE_URL of a client."
  value       = aws_sqs_queue.flow.url
}

output "step_queue_url" {
  description = "WDK_AWS_STEP_QUEUE_URL of a client."
  value       = aws_sqs_queue.step.url
}

output "bucket_name" {
  description = "WDK_AWS_BUCKET of a client."
  value       = aws_s3_bucket.objects.id
}

output "scheduler_group" {
  description = "Group of the schedules that the worker makes."
  value       = aws_scheduler_schedule_group.timers.name
}

output "scheduler_role_arn" {
  description = "The role with which those schedules send messages."
  value       = aws_iam_role.role["timers"].arn
}
