# What follows from the variables alone. The numbers are those of infra/aws/sam/template.yaml; a test compares them.

locals {
  tags = { "wdk:stage" = var.stage }

  # Turns of runs and queued steps at once, both less than the workers that are reserved: there are four for dead letters,
  # and some for the API, sweeps and ticks. Nothing is reserved where the number is -1.
  concurrency = {
    unreserved = { worker = -1, flow = 2, step = 2, receiver = -1 }
    small      = { worker = 20, flow = 5, step = 5, receiver = 5 }
    medium     = { worker = 60, flow = 25, step = 25, receiver = 20 }
    large      = { worker = 260, flow = 120, step = 120, receiver = 60 }
    huge       = { worker = 1050, flow = 500, step = 500, receiver = 200 }
  }
  at_once = local.concurrency[var.concurrency]

  # Objects of live runs are written anew in time; the others go by themselves: after 60 days or twice the retention.
  object_days = max(60, 2 * tonumber(var.retention_days))

  networks = length(var.subnet_ids) == 0 ? [] : [true]

  # A schedule of EventBridge Scheduler for each entry of a workflow's schedule, by its name.
  ticks = { for tick in var.schedules : tick.name => tick }
}
