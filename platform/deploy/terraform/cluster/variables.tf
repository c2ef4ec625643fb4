variable "name" {
  description = "Name of the cluster, and what every other name begins with."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of Kubernetes."
  type        = string
  default     = "1.33"
}

variable "subnet_ids" {
  description = "Private subnets in two zones at least."
  type        = list(string)
}

variable "workloads_group_id" {
  description = "The security group of what runs in it."
  type        = string
}

variable "node_groups" {
  description = "Kinds of nodes. Spot ones are tainted: only what can be stopped at any moment runs there."
  type = map(object({
    instance_types = list(string)
    min            = number
    max            = number
    is_spot        = optional(bool, false)
  }))

  validation {
    condition     = anytrue([for group in values(var.node_groups) : !group.is_spot && group.min >= 2])
    error_message = "One group at least stays and has two nodes: the control API and serving run there."
  }
  validation {
    condition     = alltrue([for group in values(var.node_groups) : group.min <= group.max])
    error_message = "min must not be above max."
  }
}
