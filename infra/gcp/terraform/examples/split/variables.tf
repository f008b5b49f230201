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

variable "payload_key" {
  description = "A key of Cloud KMS for payloads. Empty: they are not encrypted by the app."
  type        = string
  default     = ""
}

variable "notification_channels" {
  description = "Where alerts go."
  type        = list(string)
  default     = []
}

variable "api_members" {
  description = "Who may use the API."
  type        = list(string)
  default     = []
}
