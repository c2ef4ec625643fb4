mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mainspring-test" }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { identity = [{ oidc = [{ issuer = "https://oidc.example.com/id/1" }] }] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-1", latest_version = 1 }
  }
}

variables {
  name               = "mainspring-test"
  subnet_ids         = ["subnet-1", "subnet-2"]
  workloads_group_id = "sg-1"
  node_groups = {
    stays = { instance_types = ["m7g.xlarge"], min = 2, max = 4 }
    spot  = { instance_types = ["c7g.2xlarge", "c6g.2xlarge"], min = 0, max = 20, is_spot = true }
  }
}

run "private_and_on_record" {
  command = apply

  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "its API has no public address"
  }
  assert {
    condition     = contains(aws_eks_cluster.this.enabled_cluster_log_types, "audit")
    error_message = "who did what in the cluster is on record"
  }
  assert {
    condition     = aws_launch_template.nodes.metadata_options[0].http_tokens == "required"
    error_message = "pods do not get a node's credentials"
  }
  assert {
    condition     = output.issuer == "oidc.example.com/id/1"
    error_message = "roles name the issuer without its scheme"
  }
}

run "spot_nodes_are_tainted" {
  command = apply

  assert {
    condition     = one(aws_eks_node_group.this["spot"].taint).effect == "NO_SCHEDULE"
    error_message = "only what tolerates a stop runs on spot nodes"
  }
  assert {
    condition     = length(aws_eks_node_group.this["stays"].taint) == 0
    error_message = "the others take everything"
  }
}

run "spot_alone_is_refused" {
  command = plan

  variables {
    node_groups = { spot = { instance_types = ["c7g.2xlarge"], min = 2, max = 20, is_spot = true } }
  }

  expect_failures = [var.node_groups]
}
