variable "environment" {
  description = "dev, staging or prod."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment must be dev, staging or prod."
  }
}

variable "region" {
  description = "The region of everything."
  type        = string
}

variable "zones" {
  description = "Availability zones of the region."
  type        = list(string)
}

variable "cidr" {
  description = "Addresses of the network; environments must not overlap where they are connected."
  type        = string
}

variable "egress" {
  description = "What may be reached outside, by a name that says why."
  type        = map(object({ cidr = string, port = number }))
  default     = {}
}

variable "bucket_prefix" {
  description = "The organisation's own prefix: bucket names are unique in the world."
  type        = string
}

variable "checkpoint_days" {
  description = "So long an audit checkpoint cannot be changed or removed."
  type        = number
  default     = 2557
}

variable "database_class" {
  description = "Size of the database."
  type        = string
}

variable "node_groups" {
  description = "Kinds of nodes."
  type = map(object({
    instance_types = list(string)
    min            = number
    max            = number
    is_spot        = optional(bool, false)
  }))
}

variable "owner" {
  description = "Who answers for the environment, a team's name."
  type        = string

  validation {
    condition     = length(trimspace(var.owner)) > 0
    error_message = "Somebody has to answer for an environment."
  }
}

variable "cost_center" {
  description = "Who pays."
  type        = string

  validation {
    condition     = length(trimspace(var.cost_center)) > 0
    error_message = "Somebody has to pay for an environment."
  }
}
