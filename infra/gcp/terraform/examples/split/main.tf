# Three services of one image, alerts, and data that outlives `terraform destroy`: for production.

provider "google" {
  project = var.project
}

module "wdk" {
  source = "../.."

  project     = var.project
  location    = var.location
  image       = var.image
  mode        = "split"
  name        = "orders"
  database    = "orders"
  payload_key = var.payload_key
  api_members = var.api_members

  retention_days        = 90
  max_instances         = { public = 20, turns = 30, steps = 100 }
  notification_channels = var.notification_channels

  labels = { app = "orders", stage = "prod" }
}
