variable "name" {
  description = "What the names of everything begin with. Two stages of one account have two names."
  type        = string
  default     = "wdk"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,34}[a-z0-9]$", var.name)) && !can(regex("^(xn--|sthree-|amzn-s3-demo-)", var.name))
    error_message = "InvalidBucketName: The specified bucket is not valid. The name has 2 to 36 lowercase letters, digits and hyphens, begins with a letter and does not end with a hyphen; those that begin with xn--, sthree- or amzn-s3-demo- are kept by S3."
  }
}

variable "package" {
  description = "Path of the zip that `wdk build aws` makes."
  type        = string

  validation {
    condition     = can(regex("\\.zip$", var.package))
    error_message = "InvalidParameterValueException: Could not unzip uploaded file. The package is the function.zip that wdk build aws makes."
  }
}

variable "stage" {
  description = "A tag on everything. Two stages are two names."
  type        = string
  default     = "prod"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,15}$", var.stage))
    error_message = "Parameter stage failed to satisfy constraint: it must match pattern [a-z][a-z0-9-]{0,15}."
  }
}

variable "architecture" {
  description = "What the zip was built for."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "ValidationException: Value at 'architectures' failed to satisfy constraint: Member must satisfy enum value set: [x86_64, arm64]."
  }
}

variable "python_version" {
  description = "What the zip was built for. 3.14 needs a provider that knows it."
  type        = string
  default     = "3.13"

  validation {
    condition     = contains(["3.11", "3.12", "3.13", "3.14"], var.python_version)
    error_message = "InvalidParameterValueException: Value at 'runtime' failed to satisfy constraint: Member must satisfy enum value set; here 3.11, 3.12, 3.13 or 3.14."
  }
}

variable "worker_memory" {
  description = "Megabytes; the share of a CPU grows with them, up to a whole one at 1,769."
  type        = number
  default     = 1024

  validation {
    condition     = var.worker_memory >= 256 && var.worker_memory <= 10240
    error_message = "ValidationException: Value at 'memorySize' failed to satisfy constraint: it is between 256 (which an app needs) and 10240."
  }
}

variable "worker_timeout" {
  description = "Seconds. What a step may take at most, less the time for its record."
  type        = number
  default     = 900

  validation {
    condition     = var.worker_timeout >= 30 && var.worker_timeout <= 900
    error_message = "ValidationException: Value at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900; and no less than 30 here."
  }
}

variable "receiver_memory" {
  description = "Megabytes."
  type        = number
  default     = 512

  validation {
    condition     = var.receiver_memory >= 256 && var.receiver_memory <= 10240
    error_message = "ValidationException: Value at 'memorySize' of the receiver failed to satisfy constraint: it is between 256 and 10240."
  }
}

variable "public_url" {
  description = "Where a domain of yours leads to the receiver, without a path. Empty: the receiver's own URL."
  type        = string
  default     = ""

  validation {
    condition     = var.public_url == "" || can(regex("^https://[^/?#]+/?$", var.public_url))
    error_message = "The base of the webhooks' URLs begins with https:// and has no path, as https://hooks.example.com."
  }
}

variable "concurrency" {
  description = "How much runs at once. Numbers of it are reserved in the account, of whose limit 100 stay unreserved; an account with a limit of 10 takes `unreserved`."
  type        = string
  default     = "medium"

  validation {
    condition     = contains(["unreserved", "small", "medium", "large", "huge"], var.concurrency)
    error_message = "Parameter concurrency must be one of AllowedValues: unreserved, small, medium, large, huge."
  }
}

variable "retention_days" {
  description = "For how long a run can be looked at after its end."
  type        = string
  default     = "30"

  validation {
    condition     = contains(["1", "7", "14", "30", "60", "90", "180", "365"], var.retention_days)
    error_message = "Parameter retention_days must be one of AllowedValues: 1, 7, 14, 30, 60, 90, 180, 365."
  }
}

variable "log_days" {
  description = "For how long log lines are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "InvalidParameterException: Value at 'retentionInDays' failed to satisfy constraint: it is one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "kms_key_arn" {
  description = "A symmetric key of yours. With it payloads are encrypted before they leave a function."
  type        = string
  default     = ""

  validation {
    condition     = var.kms_key_arn == "" || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "InvalidArnException: a key is named as arn:aws:kms:REGION:ACCOUNT:key/ID; an alias is none."
  }
}

variable "subnet_ids" {
  description = "Subnets for both functions, where they shall be in a VPC; they need a way to the AWS APIs."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-z]+$", id))])
    error_message = "ValidationException: Value at 'vpcConfig.subnetIds' failed to satisfy constraint: Member must satisfy regular expression pattern: ^subnet-[0-9a-z]*$."
  }
}

variable "security_group_ids" {
  description = "Security groups for both functions in that VPC."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.security_group_ids : can(regex("^sg-[0-9a-zA-Z]+$", id))])
    error_message = "ValidationException: Value at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must satisfy regular expression pattern: ^sg-[0-9a-zA-Z]*$."
  }
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds all roles, where the account asks for one."
  type        = string
  default     = ""

  validation {
    condition     = var.permissions_boundary == "" || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary))
    error_message = "ValidationError: The specified value for permissionsBoundary is invalid. It must be the ARN of a policy, as arn:aws:iam::ACCOUNT:policy/NAME."
  }
}

variable "alarms" {
  description = "Whether there are any. A stage for a try can do without."
  type        = bool
  default     = true
}

variable "alarm_topic_arn" {
  description = "The SNS topic that alarms go to. Empty: they only turn red."
  type        = string
  default     = ""

  validation {
    condition     = var.alarm_topic_arn == "" || can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:.+$", var.alarm_topic_arn))
    error_message = "ValidationError: Invalid arn syntax. A topic is named as arn:aws:sns:REGION:ACCOUNT:NAME."
  }
}

variable "dollars_per_day" {
  description = "Spend that rings, estimated from what was used, at list prices of us-east-1."
  type        = number
  default     = 10

  validation {
    condition     = var.dollars_per_day >= 1
    error_message = "Parameter dollars_per_day must be a number not less than 1."
  }
}

variable "environment" {
  description = "More environment variables of the worker, which runs the code of the app."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[a-zA-Z][a-zA-Z0-9_]+$", name)) && !startswith(name, "AWS_")])
    error_message = "InvalidParameterValueException: Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification: names have letters, digits and underscores and do not begin with AWS_."
  }

  validation {
    condition     = alltrue([for name in keys(var.environment) : !startswith(name, "WDK_AWS_") && !contains(["POWERTOOLS_SERVICE_NAME", "PYTHONHASHSEED", "WDK_PUBLIC_URL", "WDK_RETENTION", "WDK_ROLE", "WDK_WORLD"], name)])
    error_message = "The environment contains reserved keys of this module, which sets them itself: WDK_AWS_*, WDK_PUBLIC_URL, WDK_RETENTION, WDK_ROLE, WDK_WORLD, PYTHONHASHSEED, POWERTOOLS_SERVICE_NAME."
  }
}

variable "schedules" {
  description = "Entries for the workflows of the app that have a schedule, as `wdk build aws` writes them into its template."
  type        = list(object({ name = string, workflow = string, expression = string, timezone = string }))
  default     = []

  validation {
    condition     = alltrue([for tick in var.schedules : can(regex("^(cron\\(\\S+ \\S+ \\S+ \\S+ \\S+ \\S+\\)|rate\\((1 (minute|hour|day)|([2-9]|[1-9][0-9]+) (minutes|hours|days))\\))$", tick.expression))])
    error_message = "ValidationException: Invalid Schedule Expression. It is cron(…) with six fields or rate(…), as rate(5 minutes)."
  }

  validation {
    condition     = alltrue([for tick in var.schedules : can(regex("^[0-9a-zA-Z-_.]{1,64}$", tick.name))])
    error_message = "ValidationException: Value at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[0-9a-zA-Z-_.]+$; and have length less than or equal to 64."
  }
}

variable "deletion_protection" {
  description = "Whether `destroy` is refused while there are the table and objects."
  type        = bool
  default     = true
}
