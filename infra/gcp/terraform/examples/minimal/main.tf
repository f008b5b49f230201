# One service that does all, without alerts: for a first try. `terraform destroy` takes the data along.

provider "google" {
  project = var.project
}

module "wdk" {
  source = "../.."

  project             = var.project
  location            = var.location
  image               = var.image
  mode                = "single"
  alerts              = false
  deletion_protection = false
}
