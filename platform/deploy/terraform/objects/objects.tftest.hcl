mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mainspring-test" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  name = "mainspring-test"
}

run "nothing_is_public_plain_or_lost" {
  command = apply

  assert {
    condition = alltrue([
      for block in aws_s3_bucket_public_access_block.this :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ])
    error_message = "no bucket is public in any way"
  }
  assert {
    condition     = alltrue([for one in aws_s3_bucket_versioning.this : one.versioning_configuration[0].status == "Enabled"])
    error_message = "every bucket keeps former versions"
  }
  assert {
    condition     = toset(keys(aws_s3_bucket_server_side_encryption_configuration.this)) == toset(keys(aws_s3_bucket.this))
    error_message = "every bucket is encrypted"
  }
  assert {
    condition     = aws_kms_key.objects.enable_key_rotation
    error_message = "its key rotates"
  }
}

run "checkpoints_are_locked" {
  command = apply

  assert {
    condition     = aws_s3_bucket.this["checkpoints"].object_lock_enabled
    error_message = "object lock is on from the start: it cannot be switched on later"
  }
  assert {
    condition     = aws_s3_bucket_object_lock_configuration.checkpoints.rule[0].default_retention[0].mode == "COMPLIANCE"
    error_message = "GOVERNANCE can be walked around by an administrator"
  }
}

run "a_short_lock_is_refused" {
  command = plan

  variables {
    checkpoint_days = 30
  }

  expect_failures = [var.checkpoint_days]
}
