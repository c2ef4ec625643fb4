# One environment: the modules put together. `environments/*.tfvars` says how dev, staging and prod differ.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  backend "s3" {} # bucket, key and lock table by -backend-config
}

provider "aws" {
  region = var.region

  # Costs are charged by these, and a resource without them is nobody's.
  default_tags {
    tags = {
      "mainspring:environment" = var.environment
      "mainspring:owner"       = var.owner
      "mainspring:cost-center" = var.cost_center
    }
  }
}

locals {
  name          = "mainspring-${var.environment}"
  is_production = var.environment == "prod"
}

module "network" {
  source = "../network"
  name   = local.name
  region = var.region
  cidr   = var.cidr
  zones  = var.zones
  egress = var.egress
}

module "objects" {
  source          = "../objects"
  name            = "${var.bucket_prefix}-${local.name}"
  checkpoint_days = var.checkpoint_days
}

module "database" {
  source             = "../database"
  name               = local.name
  vpc_id             = module.network.vpc_id
  subnet_ids         = module.network.subnet_ids
  workloads_group_id = module.network.workloads_group_id
  instance_class     = var.database_class
  is_production      = local.is_production
}

module "cluster" {
  source             = "../cluster"
  name               = local.name
  subnet_ids         = module.network.subnet_ids
  workloads_group_id = module.network.workloads_group_id
  node_groups        = var.node_groups
}

module "identity" {
  source      = "../identity"
  name        = local.name
  issuer      = module.cluster.issuer
  issuer_arn  = module.cluster.issuer_arn
  bucket_arns = module.objects.bucket_arns
  key_arn     = module.objects.key_arn
}
