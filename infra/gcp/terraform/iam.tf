# Who may do what. Permissions are those of wdk_gcp/rights.py, in roles of this project; a test compares them.

resource "google_service_account" "service" {
  for_each = local.accounts

  project      = var.project
  account_id   = "${var.name}-${each.value}"
  display_name = each.value == "worker" ? "Works on runs" : "Answers webhooks"

  depends_on = [google_project_service.api]
}

resource "google_service_account" "invoker" {
  project      = var.project
  account_id   = "${var.name}-invoker"
  display_name = "In whose name Cloud Tasks and Cloud Scheduler call"

  depends_on = [google_project_service.api]
}

resource "google_project_iam_custom_role" "role" {
  for_each = local.granted_roles

  project     = var.project
  role_id     = "${local.role_prefix}_${each.key}"
  title       = each.value.title
  permissions = each.value.permissions
}

resource "google_project_iam_member" "documents" {
  for_each = local.accounts

  project = var.project
  role    = google_project_iam_custom_role.role["${each.value}_documents"].id
  member  = google_service_account.service[each.value].member

  condition {
    title      = "only-${var.name}"
    expression = local.only_this_database
  }
}

resource "google_storage_bucket_iam_member" "objects" {
  for_each = local.accounts

  bucket = google_storage_bucket.objects.name
  role   = google_project_iam_custom_role.role["${each.value}_objects"].id
  member = google_service_account.service[each.value].member
}

# Both wake runs; only who works on runs dispatches steps.
resource "google_cloud_tasks_queue_iam_member" "flow" {
  for_each = local.accounts

  project  = var.project
  location = var.location
  name     = google_cloud_tasks_queue.queue["flow"].name
  role     = google_project_iam_custom_role.role["sender"].id
  member   = google_service_account.service[each.value].member
}

resource "google_cloud_tasks_queue_iam_member" "step" {
  project  = var.project
  location = var.location
  name     = google_cloud_tasks_queue.queue["step"].name
  role     = google_project_iam_custom_role.role["sender"].id
  member   = google_service_account.service["worker"].member
}

# A task carries a token of the invoker: whoever makes the task has to be allowed to act as that account.
resource "google_service_account_iam_member" "caller" {
  for_each = local.accounts

  service_account_id = google_service_account.invoker.name
  role               = google_project_iam_custom_role.role["caller"].id
  member             = google_service_account.service[each.value].member
}

# The key may be another project's, where roles of this one do not count.
resource "google_kms_crypto_key_iam_member" "worker" {
  count = var.payload_key == "" ? 0 : 1

  crypto_key_id = var.payload_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = google_service_account.service["worker"].member
}

resource "google_kms_crypto_key_iam_member" "receiver" {
  count = var.payload_key != "" && var.mode == "split" ? 1 : 0

  crypto_key_id = var.payload_key
  role          = "roles/cloudkms.cryptoKeyEncrypter"
  member        = google_service_account.service["receiver"].member
}

# Firestore and Cloud Storage encrypt with the key by accounts of their own.
data "google_storage_project_service_account" "storage" {
  count = var.disk_key == "" ? 0 : 1

  project = var.project
}

resource "google_kms_crypto_key_iam_member" "disk" {
  for_each = var.disk_key == "" ? {} : {
    storage   = "serviceAccount:${data.google_storage_project_service_account.storage[0].email_address}"
    firestore = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-firestore.iam.gserviceaccount.com"
  }

  crypto_key_id = var.disk_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = { for name, service in local.services : name => service if !service.public }

  project  = var.project
  location = var.location
  name     = google_cloud_run_v2_service.service[each.key].name
  role     = "roles/run.invoker"
  member   = google_service_account.invoker.member
}

# Who may use the API of the service that works on runs, beside the queues.
resource "google_cloud_run_v2_service_iam_member" "api" {
  for_each = var.mode == "split" ? toset(var.api_members) : toset([])

  project  = var.project
  location = var.location
  name     = google_cloud_run_v2_service.service["turns"].name
  role     = "roles/run.invoker"
  member   = each.value
}

# Senders of webhooks have no account with Google. Only the service with the role "public" is open; in the mode "single" it
# verifies the queues' tokens itself.
resource "google_cloud_run_v2_service_iam_member" "public" {
  for_each = { for name, service in local.services : name => service if service.public }

  project  = var.project
  location = var.location
  name     = google_cloud_run_v2_service.service[each.key].name
  role     = "roles/run.invoker"
  member   = "allUsers"
}
