variable "name" {
  description = "What every resource's name begins with."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in two zones at least."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "The database wants subnets in two zones."
  }
}

variable "workloads_group_id" {
  description = "The security group that may connect."
  type        = string
}

variable "instance_class" {
  description = "Size of the instance."
  type        = string
  default     = "db.t4g.medium"
}

variable "storage_gib" {
  description = "GiB at the start; it grows to four times that."
  type        = number
  default     = 50
}

variable "is_production" {
  description = "A standby in another zone, 35 days of backups, and no deletion."
  type        = bool
}
