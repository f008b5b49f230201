output "webhook_url" {
  description = "Where webhooks come in, and health."
  value       = module.wdk.webhook_url
}

output "api_url" {
  description = "The API, for whoever may lambda:InvokeFunctionUrl on the worker and signs requests."
  value       = module.wdk.api_url
}

output "worker_logs" {
  description = "Log group of the worker."
  value       = module.wdk.worker_logs
}

output "table_name" {
  description = "WDK_AWS_TABLE of a client."
  value       = module.wdk.table_name
}
