# Where runs lie. Collections and fields are those of wdk_gcp/schema.py; a test compares them.

resource "google_firestore_database" "runs" {
  project                           = var.project
  name                              = var.database
  location_id                       = coalesce(var.data_location, var.location)
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC"
  app_engine_integration_mode       = "DISABLED"
  point_in_time_recovery_enablement = var.point_in_time_recovery ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"

  # Without protection `destroy` takes the runs along. With it, the database stays and is only forgotten.
  delete_protection_state = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy         = var.deletion_protection ? "ABANDON" : "DELETE"

  dynamic "cmek_config" {
    for_each = var.disk_key == "" ? [] : [var.disk_key]
    content {
      kms_key_name = cmek_config.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.disk]
}

resource "google_firestore_field" "exempt" {
  for_each = local.fields

  project    = var.project
  database   = google_firestore_database.runs.name
  collection = each.value.collection
  field      = each.value.name

  index_config {}

  dynamic "ttl_config" {
    for_each = each.value.name == local.expires ? [true] : []
    content {}
  }
}

resource "google_firestore_index" "listing" {
  for_each = toset(local.listings)

  project     = var.project
  database    = google_firestore_database.runs.name
  collection  = "wdk_runs"
  query_scope = "COLLECTION"

  fields {
    field_path = each.value
    order      = "ASCENDING"
  }
  fields {
    field_path = "listed"
    order      = "DESCENDING"
  }
}

resource "google_storage_bucket" "objects" {
  #checkov:skip=CKV_GCP_78:What is erased is to be gone; earlier versions of an object would stay.
  #checkov:skip=CKV_GCP_62:Names of objects hold ids of runs; a log of accesses is for the owner of the project to ask for.
  project                     = var.project
  name                        = local.bucket_name
  location                    = coalesce(var.data_location, var.location)
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection
  labels                      = var.labels

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = local.object_days
    }
  }

  # What is erased is gone.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  dynamic "encryption" {
    for_each = var.disk_key == "" ? [] : [var.disk_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.disk]

  lifecycle {
    precondition {
      condition     = !can(regex("^goog|g[o0][o0]gle", local.bucket_name))
      error_message = "invalid: Use of this bucket name is restricted: '${local.bucket_name}'. None begins with goog, or has google in it, or what looks like that; unless `bucket` is set the name is PROJECT-NAME."
    }
  }
}
