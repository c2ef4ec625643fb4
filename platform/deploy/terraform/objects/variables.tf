variable "name" {
  description = "What every bucket's name begins with; bucket names are unique in the world."
  type        = string
}

variable "checkpoint_days" {
  description = "So long an audit checkpoint cannot be changed or removed."
  type        = number
  default     = 2557 # seven years

  validation {
    condition     = var.checkpoint_days >= 365
    error_message = "Checkpoints prove what happened in a year's audit at least: 365 days or more."
  }
}

variable "noncurrent_days" {
  description = "So long the former version of an object is kept."
  type        = number
  default     = 90
}
