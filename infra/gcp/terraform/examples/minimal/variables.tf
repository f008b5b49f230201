variable "project" {
  description = "Id of the project."
  type        = string
}

variable "location" {
  description = "Region of everything."
  type        = string
  default     = "europe-west1"
}

variable "image" {
  description = "The container image."
  type        = string
}
