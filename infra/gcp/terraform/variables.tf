# What is refused here would be refused by Google Cloud in the middle of an `apply`; the messages say it as it would.

variable "project" {
  description = "Id of the project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "INVALID_ARGUMENT: a project id has 6 to 30 lowercase letters, digits and hyphens, begins with a letter and does not end with a hyphen (it is the id, not the name or the number)."
  }
}

variable "location" {
  description = "Region of the services and queues."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.location))
    error_message = "NOT_FOUND: The requested location is not a region of Cloud Run and Cloud Tasks, as europe-west1 is one; a zone (europe-west1-b) or a multi-region (eur3) is not."
  }
}

variable "data_location" {
  description = "Location of the database and the bucket, where it is not `location`."
  type        = string
  default     = ""

  validation {
    condition     = var.data_location == "" || can(regex("^[a-z]+-[a-z]+[0-9]+$", var.data_location))
    error_message = "INVALID_ARGUMENT: The database and the bucket are in one location, and only regions are locations of both."
  }
}

variable "scheduler_location" {
  description = "Region of the jobs of Cloud Scheduler, where `location` has none."
  type        = string
  default     = ""

  validation {
    condition     = var.scheduler_location == "" || can(regex("^[a-z]+-[a-z]+[0-9]+$", var.scheduler_location))
    error_message = "NOT_FOUND: The requested location is not a region of Cloud Scheduler, as europe-west1 is one."
  }
}

variable "name" {
  description = "What the names of everything begin with. Two stages of one project have two names."
  type        = string
  default     = "wdk"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}[a-z0-9]$", var.name))
    error_message = "INVALID_ARGUMENT: The account ID \"NAME-receiver\" has to match ^[a-z]([-a-z0-9]{4,28}[a-z0-9])$, so that the name has 2 to 21 lowercase letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "image" {
  description = "The container image, with its tag or digest: what `wdk build gcp` makes, pushed."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+\\.(pkg\\.dev|gcr\\.io)/[^\\s:@]+(:[\\w.-]+|@sha256:[0-9a-f]{64})$", var.image)) || can(regex("^gcr\\.io/[^\\s:@]+(:[\\w.-]+|@sha256:[0-9a-f]{64})$", var.image))
    error_message = "Expected an image path like [region.]gcr.io/repo-path[:tag|@digest] or region-docker.pkg.dev/project/repository/image[:tag|@digest]; a tag or a digest is needed, as the same path would deploy nothing new."
  }
}

variable "mode" {
  description = "`split`: three services, for the public, for turns and for steps. `single`: one that does all."
  type        = string
  default     = "split"

  validation {
    condition     = contains(["split", "single"], var.mode)
    error_message = "The mode is \"split\" or \"single\"."
  }
}

variable "database" {
  description = "Name of the Firestore database. `(default)` is the one that is free of charge up to a quota."
  type        = string
  default     = "wdk-runs"

  validation {
    condition     = var.database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database))
    error_message = "INVALID_ARGUMENT: database_id should be 4-63 characters, and valid characters are /[a-z][0-9]-/, the first a letter and the last a letter or a digit; or \"(default)\"."
  }
}

variable "bucket" {
  description = "Name of the bucket; unless set, PROJECT-NAME."
  type        = string
  default     = ""

  validation {
    condition     = var.bucket == "" || can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "invalid: Invalid bucket name. It has 3 to 63 lowercase letters, digits, hyphens and underscores, and begins and ends with a letter or a digit."
  }
}

variable "retention_days" {
  description = "For how long a run can be looked at after its end."
  type        = number
  default     = 30

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 3650 && floor(var.retention_days) == var.retention_days
    error_message = "The age of a lifecycle rule is a whole number of days: retention_days is between 1 and 3650."
  }
}

variable "public_url" {
  description = "Where a domain of yours leads to the public service, without a path. Empty: the service's own URL."
  type        = string
  default     = ""

  validation {
    condition     = var.public_url == "" || can(regex("^https://[^/?#]+$", var.public_url))
    error_message = "The base of the webhooks' URLs begins with https:// and has no path, as https://hooks.example.com."
  }
}

variable "cpu" {
  description = "CPUs of an instance."
  type        = string
  default     = "1"

  validation {
    condition     = contains(["1", "2", "4", "6", "8"], var.cpu)
    error_message = "Invalid value specified for container cpu. It has to be 1, 2, 4, 6 or 8: total cpu below 1 is not supported with concurrency above 1."
  }
}

variable "memory" {
  description = "Memory of an instance."
  type        = string
  default     = "1Gi"

  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.memory)) && !can(regex("^([0-4]?[0-9]?[0-9]|50[0-9]|51[01])Mi$", var.memory))
    error_message = "Invalid value specified for container memory. It is written as 512Mi or 1Gi, and the second generation of Cloud Run has 512Mi at least."
  }
}

variable "max_instances" {
  description = "Instances at most, of each service; in the mode `single` the number is that of `turns`."
  type        = object({ public = optional(number, 10), turns = optional(number, 10), steps = optional(number, 20) })
  default     = {}

  validation {
    condition     = alltrue([for most in values(var.max_instances) : most >= 1 && most <= 1000])
    error_message = "spec.template.metadata.annotations[autoscaling.knative.dev/maxScale]: the maximum of instances is between 1 and 1000."
  }
}

variable "environment" {
  description = "Environment variables of the services that run code of the app."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.environment) : !can(regex("^$|=|^X_GOOGLE_|^WDK_GCP_", name)) && !contains(["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "PYTHONHASHSEED", "WDK_PUBLIC_URL", "WDK_RETENTION", "WDK_ROLE", "WDK_WORLD"], name)])
    error_message = "The following reserved env names were provided: PORT, K_SERVICE, K_REVISION, K_CONFIGURATION, X_GOOGLE_*; or a variable that this module sets: WDK_GCP_*, WDK_PUBLIC_URL, WDK_RETENTION, WDK_ROLE, WDK_WORLD, PYTHONHASHSEED."
  }
}

variable "secrets" {
  description = "Environment variables of those services whose values are secrets of Secret Manager: the variable, and the secret's id."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.secrets) : !can(regex("^$|=|^X_GOOGLE_|^WDK_GCP_", name)) && !contains(["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "PYTHONHASHSEED", "WDK_PUBLIC_URL", "WDK_RETENTION", "WDK_ROLE", "WDK_WORLD"], name)])
    error_message = "The following reserved env names were provided: PORT, K_SERVICE, K_REVISION, K_CONFIGURATION, X_GOOGLE_*; or a variable that this module sets: WDK_GCP_*, WDK_PUBLIC_URL, WDK_RETENTION, WDK_ROLE, WDK_WORLD, PYTHONHASHSEED."
  }

  validation {
    condition     = alltrue([for secret in values(var.secrets) : can(regex("^[A-Za-z0-9_-]{1,255}$", secret))])
    error_message = "INVALID_ARGUMENT: a secret is named by its id, 1 to 255 letters, digits, hyphens and underscores, and is one of this project."
  }
}

variable "payload_key" {
  description = "A symmetric key of Cloud KMS. With it payloads are encrypted before they leave a service."
  type        = string
  default     = ""

  validation {
    condition     = var.payload_key == "" || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.payload_key))
    error_message = "INVALID_ARGUMENT: a key is named projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, without a version."
  }
}

variable "disk_key" {
  description = "A key of Cloud KMS, in the location of the data, with which Firestore and Cloud Storage encrypt what they keep."
  type        = string
  default     = ""

  validation {
    condition     = var.disk_key == "" || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.disk_key))
    error_message = "INVALID_ARGUMENT: a key is named projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, without a version."
  }
}

variable "subnetwork" {
  description = "A subnetwork through which services reach private addresses. Empty: none."
  type        = string
  default     = ""

  validation {
    condition     = var.subnetwork == "" || can(regex("^(https://www\\.googleapis\\.com/compute/v1/)?(projects/[^/]+/regions/[^/]+/subnetworks/)?[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.subnetwork))
    error_message = "INVALID_ARGUMENT: Invalid value for field 'subnetwork': it is the name of one in the services' region, or projects/PROJECT/regions/REGION/subnetworks/NAME."
  }
}

variable "api_members" {
  description = "Who may use the API of the service that works on runs, as `user:…` or `serviceAccount:…`. In the mode `single` the app's own authenticator says it."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.api_members : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "INVALID_ARGUMENT: The member is of an unknown type. It begins with user:, group:, serviceAccount:, domain:, principal: or principalSet:; the API is for nobody in general, so that allUsers is refused."
  }
}

variable "schedules" {
  description = "Entries for the workflows of the app that have a schedule; `wdk build gcp` writes them."
  type        = list(object({ name = string, workflow = string, schedule = string, time_zone = string }))
  default     = []

  validation {
    condition     = alltrue([for tick in var.schedules : can(regex("^\\S+ \\S+ \\S+ \\S+ \\S+$", tick.schedule))])
    error_message = "INVALID_ARGUMENT: Schedule or time zone is invalid. A schedule has five fields: minute, hour, day of the month, month, day of the week."
  }

  validation {
    condition     = alltrue([for tick in var.schedules : can(regex("^[A-Za-z0-9_-]{1,400}$", tick.name))])
    error_message = "INVALID_ARGUMENT: Job name must be formatted: projects/PROJECT/locations/LOCATION/jobs/JOB, and JOB has letters, digits, hyphens and underscores, 500 at most together with the name of the module."
  }
}

variable "point_in_time_recovery" {
  description = "Whether the database can be read as it was in the last seven days; costs storage."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether `destroy` leaves the database and the bucket."
  type        = bool
  default     = true
}

variable "alerts" {
  description = "Whether there are any. A stage for a try can do without."
  type        = bool
  default     = true
}

variable "notification_channels" {
  description = "Notification channels of Cloud Monitoring that alerts go to. Empty: they are only seen in the console."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "INVALID_ARGUMENT: Field notification_channels had an invalid value: a channel is named projects/PROJECT/notificationChannels/ID."
  }
}

variable "billing_account" {
  description = "The billing account, for a budget of this project. Empty: none."
  type        = string
  default     = ""

  validation {
    condition     = var.billing_account == "" || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "INVALID_ARGUMENT: a billing account is named as 012345-567890-ABCDEF."
  }
}

variable "monthly_budget" {
  description = "Of that budget, in whole units of the account's currency."
  type        = number
  default     = 100

  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "INVALID_ARGUMENT: the amount of a budget is a whole number of units, 1 or more."
  }
}

variable "labels" {
  description = "Labels on everything that takes some."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "INVALID_ARGUMENT: Label keys and values can only contain lowercase letters, digits, underscores and dashes, and have 63 characters at most; a key begins with a letter."
  }
}
