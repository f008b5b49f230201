# With a provider that answers nothing; `terraform test` wants Google's provider for its schema, and no account.

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

mock_provider "time" {}

variables {
  project  = "my-project"
  location = "europe-west1"
  image    = "europe-west1-docker.pkg.dev/my-project/wdk/app:1"
}

run "split" {
  command = plan

  assert {
    condition     = toset(keys(google_cloud_run_v2_service.service)) == toset(["public", "turns", "steps"])
    error_message = "There are three services."
  }
  assert {
    condition     = google_cloud_run_v2_service.service["steps"].template[0].max_instance_request_concurrency == 1
    error_message = "Steps run one at a time."
  }
  assert {
    condition     = alltrue([for service in google_cloud_run_v2_service.service : contains(service.custom_audiences, "wdk-cloud")])
    error_message = "Each service takes the tokens of the queues."
  }
  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.public) == ["public"]
    error_message = "One service is open."
  }
  assert {
    condition     = google_firestore_database.runs.delete_protection_state == "DELETE_PROTECTION_ENABLED"
    error_message = "The runs are protected."
  }
}

run "single" {
  command = plan

  variables {
    mode                = "single"
    alerts              = false
    deletion_protection = false
    schedules           = [{ name = "tick-nightly-1", workflow = "nightly", schedule = "30 2 * * *", time_zone = "Europe/Berlin" }]
  }

  assert {
    condition     = keys(google_cloud_run_v2_service.service) == ["all"]
    error_message = "There is one service."
  }
  assert {
    condition     = keys(google_service_account.service) == ["worker"]
    error_message = "It has one account."
  }
  assert {
    condition     = length(google_monitoring_alert_policy.watched) == 0 && length(google_logging_metric.counted) == 0
    error_message = "There are no alerts."
  }
  assert {
    condition     = google_cloud_scheduler_job.tick["tick-nightly-1"].time_zone == "Europe/Berlin"
    error_message = "A schedule has its job."
  }
}

run "with_keys" {
  command = plan

  variables {
    payload_key     = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/payloads"
    disk_key        = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/disk"
    billing_account = "012345-567890-ABCDEF"
    secrets         = { STRIPE_KEY = "stripe-key" }
  }

  assert {
    condition     = google_kms_crypto_key_iam_member.receiver[0].role == "roles/cloudkms.cryptoKeyEncrypter"
    error_message = "The public service opens nothing."
  }
  assert {
    condition     = length(google_billing_budget.project) == 1
    error_message = "There is a budget."
  }
}

run "a_zone_is_no_region" {
  command = plan

  variables {
    location = "europe-west1-b"
  }

  expect_failures = [var.location]
}
