output "webhook_url" {
  description = "Where webhooks come in, and health."
  value       = module.wdk.webhook_url
}

output "api_url" {
  description = "The API, for whoever may lambda:InvokeFunctionUrl on the worker and signs requests."
  value       = module.wdk.api_url
}

output "worker_name" {
  description = "Name of the worker function."
  value       = module.wdk.worker_name
}

output "receiver_name" {
  description = "Name of the receiver function."
  value       = module.wdk.receiver_name
}

output "worker_logs" {
  description = "Log group of the worker."
  value       = module.wdk.worker_logs
}

output "receiver_logs" {
  description = "Log group of the receiver."
  value       = module.wdk.receiver_logs
}

output "table_name" {
  description = "WDK_AWS_TABLE of a client."
  value       = module.wdk.table_name
}

output "flow_queue_url" {
  description = "WDK_AWS_FLOW_QUEUE_URL of a client."
  value       = module.wdk.flow_queue_url
}

output "step_queue_url" {
  description = "WDK_AWS_STEP_QUEUE_URL of a client."
  value       = module.wdk.step_queue_url
}

output "bucket_name" {
  description = "WDK_AWS_BUCKET of a client."
  value       = module.wdk.bucket_name
}

output "scheduler_group" {
  description = "Group of the schedules that the worker makes."
  value       = module.wdk.scheduler_group
}

output "scheduler_role_arn" {
  description = "The role with which those schedules send messages."
  value       = module.wdk.scheduler_role_arn
}
