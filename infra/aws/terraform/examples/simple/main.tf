# What a first try needs: nothing reserved, no alarms. `terraform destroy` takes the data along.

provider "aws" {
  region = var.region
}

module "wdk" {
  source = "../.."

  name                = var.name
  package             = var.package
  architecture        = var.architecture
  concurrency         = "unreserved"
  alarms              = false
  deletion_protection = false
  environment         = var.environment
}
