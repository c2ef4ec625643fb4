variable "name" {
  description = "What every resource's name begins with."
  type        = string
}

variable "region" {
  description = "The region, as in the names of the cloud's services."
  type        = string
}

variable "cidr" {
  description = "Addresses of the network; a sixteenth of it for each zone."
  type        = string
  default     = "10.64.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.cidr, 4, 15))
    error_message = "cidr must be an IPv4 block with room for sixteen subnets, such as 10.64.0.0/16."
  }
}

variable "zones" {
  description = "Availability zones; two at least, so that the loss of one is not the loss of all."
  type        = list(string)

  validation {
    condition     = length(distinct(var.zones)) >= 2 && length(var.zones) <= 16
    error_message = "Give two to sixteen different zones."
  }
}

variable "services" {
  description = "The cloud's services that workloads reach through private endpoints."
  type        = set(string)
  default     = ["ecr.api", "ecr.dkr", "kms", "logs", "secretsmanager", "sts"]
}

variable "egress" {
  description = "What may be reached outside, by a name that says why: an identity provider, a hosted Temporal."
  type        = map(object({ cidr = string, port = number }))
  default     = {}

  validation {
    condition     = alltrue([for rule in values(var.egress) : !endswith(rule.cidr, "/0")])
    error_message = "An egress rule to every address is none; name the addresses."
  }
}
