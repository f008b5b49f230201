# What follows from the variables alone: nothing here asks Google Cloud. Names that the code has, too (collections, fields,
# permissions, audience, settings of queues), are compared with it by a test.

locals {
  audience    = "wdk-cloud"
  sweep_route = "/.well-known/workflow/v1/sweep"
  tick_route  = "/.well-known/workflow/v1/tick"

  # `split`: three services of one image, so that a step that takes all of its CPU or memory costs no other run an
  # attempt, and the public one can do little. `single`: one that does all.
  #
  # The hash seed is fixed where bodies run, so that sets iterate alike in every process; in a service that only answers
  # the public it is one that nobody can foresee.
  all_services = {
    public = { mode = "split", role = "receiver", account = "receiver", concurrency = 80, seed = "random", public = true }
    turns  = { mode = "split", role = "worker", account = "worker", concurrency = 4, seed = "0", public = false }
    steps  = { mode = "split", role = "worker", account = "worker", concurrency = 1, seed = "0", public = false }
    all    = { mode = "single", role = "all", account = "worker", concurrency = 4, seed = "0", public = true }
  }
  services = { for name, service in local.all_services : name => service if service.mode == var.mode }

  # The URL of a service is known before there is one: it tells its queues where it is.
  urls = {
    for name in keys(local.services) :
    name => "https://${local.service_names[name]}-${local.project_number}.${var.location}.run.app"
  }

  service_names = { for name in keys(local.services) : name => name == "all" ? var.name : "${var.name}-${name}" }

  worker_url = local.urls[var.mode == "split" ? "turns" : "all"]
  step_url   = local.urls[var.mode == "split" ? "steps" : "all"]
  public_url = var.public_url != "" ? var.public_url : local.urls[var.mode == "split" ? "public" : "all"]

  # Cloud Tasks dispatches no more than the services take: what is beyond would get 429, which slows a queue.
  most          = merge(var.max_instances, { all = var.max_instances.turns })
  turns_at_once = max(1, 4 * var.max_instances.turns - (var.mode == "split" ? 4 : 8 + local.steps_at_once))
  steps_at_once = var.mode == "split" ? var.max_instances.steps : max(1, var.max_instances.turns)

  # Cloud Run gives an instance so many megabytes for its CPUs, at least and at most.
  megabytes        = tonumber(regex("^[0-9]+", var.memory)) * (endswith(var.memory, "Gi") ? 1024 : 1)
  megabytes_of_cpu = { 1 = [512, 4096], 2 = [512, 8192], 4 = [2048, 16384], 6 = [4096, 24576], 8 = [4096, 32768] }

  # Variables that would be set twice.
  set_twice = setintersection(keys(var.environment), keys(var.secrets))

  scheduler_location = coalesce(var.scheduler_location, var.location)

  apis = concat(
    [
      "cloudresourcemanager.googleapis.com",
      "cloudscheduler.googleapis.com",
      "cloudtasks.googleapis.com",
      "firestore.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "run.googleapis.com",
      "storage.googleapis.com",
    ],
    var.payload_key == "" && var.disk_key == "" ? [] : ["cloudkms.googleapis.com"],
    length(var.secrets) == 0 ? [] : ["secretmanager.googleapis.com"],
    var.billing_account == "" ? [] : ["billingbudgets.googleapis.com"],
  )

  # --- data ---

  expires = "expires"

  # Firestore indexes each field unless it is told not to, which costs storage and makes times that rise a hot spot.
  exempt = {
    wdk_runs = [
      "b", "w", "c", "s", "d", "i", "st", "nb", "k", "p", "r", "t", "ik", "v", "lv", "h", "f", "u", "y", "l", "a",
      "x", "xl", "n", "re", "tr", "e", "ea", "ec", "cf", "ct", "wb", "ln", "rn", "sf", "expires",
    ]
    wdk_log    = ["c", "f", "n", "d", "expires"]
    wdk_inbox  = ["id", "k", "d", "t", "o", "pn", "expires"]
    wdk_steps  = ["id", "a", "h", "u", "rt", "fs", "it", "x", "re", "e", "cn", "rn", "expires"]
    wdk_labels = ["v", "p", "expires"]
    wdk_orders = ["d", "expires"]
    wdk_tokens = ["r", "b", "h", "d", "expires"]
  }

  fields = merge([
    for collection, names in local.exempt : {
      for name in names : "${collection}/${name}" => { collection = collection, name = name }
    }
  ]...)

  # For listings by workflow, status and version: the field, then the place in the listing, newest first.
  listings = ["w", "st", "v"]

  # All buckets of the world share one space of names; with the id of a project in it, it is free.
  bucket_name = coalesce(var.bucket, "${var.project}-${var.name}")

  # Objects of live runs are written anew in time; the others go by themselves: after 60 days, or twice the retention.
  object_days = max(60, 2 * var.retention_days)

  # --- messages ---

  queues = { flow = "${var.name}-flow", step = "${var.name}-step" }

  # A job of Cloud Scheduler for each entry of a schedule; `wdk build gcp` writes them.
  ticks = { for tick in var.schedules : tick.name => tick }

  # --- rights ---

  # A service that works on queues, and one that only answers webhooks for the public.
  accounts = var.mode == "split" ? toset(["worker", "receiver"]) : toset(["worker"])

  role_prefix = replace(var.name, "-", "_")

  roles = {
    worker_documents = {
      title = "Reads and writes runs"
      permissions = [
        "datastore.entities.create",
        "datastore.entities.delete",
        "datastore.entities.get",
        "datastore.entities.list",
        "datastore.entities.update",
      ]
    }
    worker_objects = {
      title = "Reads and writes large values and streams"
      permissions = [
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
      ]
    }
    receiver_documents = {
      title = "Puts what webhooks bring into inboxes"
      permissions = [
        "datastore.entities.create",
        "datastore.entities.get",
      ]
    }
    receiver_objects = {
      title       = "Writes large bodies"
      permissions = ["storage.objects.create"]
    }
    sender = {
      title       = "Sends messages"
      permissions = ["cloudtasks.tasks.create"]
    }
    caller = {
      title       = "Sends messages that are delivered in the invoker's name"
      permissions = ["iam.serviceAccounts.actAs"]
    }
  }

  granted_roles = { for name, role in local.roles : name => role if var.mode == "split" || !startswith(name, "receiver") }

  # Whoever has the documents' permissions has them in this database alone.
  only_this_database = "resource.name == \"projects/${var.project}/databases/${var.database}\""
}
