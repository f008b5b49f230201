variable "region" {
  description = "Region of everything."
  type        = string
  default     = "eu-west-1"
}

variable "package" {
  description = "The zip that `wdk build aws` made."
  type        = string
}

variable "kms_key_arn" {
  description = "The key for payloads."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets with a way to the AWS APIs."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups that let HTTPS out."
  type        = list(string)
}

variable "permissions_boundary" {
  description = "The policy that bounds all roles; empty where the account asks for none."
  type        = string
  default     = ""
}

variable "alarm_topic_arn" {
  description = "Where alarms go."
  type        = string
}
