output "public_url" {
  description = "Where webhooks come in, and health."
  value       = module.wdk.public_url
}

output "environment" {
  description = "The variables of a client."
  value       = module.wdk.environment
}
