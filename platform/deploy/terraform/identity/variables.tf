variable "name" {
  description = "What every role's name begins with."
  type        = string
}

variable "namespace" {
  description = "Namespace of the workloads."
  type        = string
  default     = "mainspring"
}

variable "issuer" {
  description = "Issuer of the service accounts' tokens, without its scheme."
  type        = string

  validation {
    condition     = !startswith(var.issuer, "https://")
    error_message = "Give the issuer without https://, as conditions name it."
  }
}

variable "issuer_arn" {
  description = "The same as identity provider of the account."
  type        = string
}

variable "bucket_arns" {
  description = "ARN of each bucket: data, artifacts, checkpoints."
  type        = object({ data = string, artifacts = string, checkpoints = string })
}

variable "key_arn" {
  description = "The key that encrypts the buckets."
  type        = string
}
