# A stage for production: capacity reserved, payloads encrypted with a key of yours, functions in a VPC, alarms, schedules,
# and data that outlives `terraform destroy`.

provider "aws" {
  region = var.region
}

module "wdk" {
  source = "../.."

  name         = "orders"
  stage        = "prod"
  package      = var.package
  architecture = "arm64"

  python_version  = "3.13"
  worker_memory   = 1769
  worker_timeout  = 900
  receiver_memory = 512
  public_url      = "https://hooks.example.com"
  concurrency     = "large"
  environment     = { LOG_LEVEL = "INFO" }

  retention_days = "90"
  log_days       = 90

  kms_key_arn          = var.kms_key_arn
  subnet_ids           = var.subnet_ids
  security_group_ids   = var.security_group_ids
  permissions_boundary = var.permissions_boundary

  alarm_topic_arn = var.alarm_topic_arn
  dollars_per_day = 50

  schedules = [
    { name = "nightly-1", workflow = "nightly", expression = "cron(30 2 * * ? *)", timezone = "Europe/Berlin" },
  ]
}
