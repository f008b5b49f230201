variable "region" {
  description = "Region of everything."
  type        = string
  default     = "eu-west-1"
}

variable "name" {
  description = "What the names of everything begin with."
  type        = string
  default     = "wdk"
}

variable "package" {
  description = "The zip that `wdk build aws` made."
  type        = string
  default     = "build/aws/function.zip"
}

variable "architecture" {
  description = "What the zip was built for."
  type        = string
  default     = "arm64"
}

variable "environment" {
  description = "Environment variables of the app."
  type        = map(string)
  default     = {}
}
