mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mainspring-test" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mainspring-test" }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { identity = [{ oidc = [{ issuer = "https://oidc.example.com/id/1" }] }] }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-1", latest_version = 1 }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

# Called with -var-file of each environment.
run "the_environment_stands" {
  command = apply

  assert {
    condition     = output.cluster == "mainspring-${var.environment}"
    error_message = "names say the environment"
  }
  assert {
    condition     = toset(keys(output.roles)) == toset(["control", "worker", "ray", "serving", "mlflow"])
    error_message = "each workload has its own role"
  }
  assert {
    condition     = length(output.buckets) == 3
    error_message = "data, artifacts, checkpoints"
  }
}

run "an_environment_without_an_owner_is_refused" {
  command = plan

  variables {
    owner = " "
  }

  expect_failures = [var.owner]
}
