output "public_url" {
  description = "Where webhooks come in, and health."
  value       = local.public_url
}

output "api_url" {
  description = "The API, for the api_members."
  value       = local.worker_url
}

output "environment" {
  description = "The variables of a client: a process that starts runs, looks at them or resumes hooks."
  value       = merge(local.environment, { WDK_GCP_STEP_QUEUE = google_cloud_tasks_queue.queue["step"].name })
}

output "services" {
  description = "Names of the services, by what they are for."
  value       = local.service_names
}

output "service_accounts" {
  description = "E-mails of the services' accounts, and of the one that queues and jobs call as."
  value = merge(
    { for name, account in google_service_account.service : name => account.email },
    { invoker = google_service_account.invoker.email },
  )
}

output "database" {
  description = "Name of the database."
  value       = google_firestore_database.runs.name
}

output "bucket" {
  description = "Name of the bucket."
  value       = google_storage_bucket.objects.name
}

output "queues" {
  description = "Full names of the queues."
  value       = { for name, queue in google_cloud_tasks_queue.queue : name => queue.id }
}
