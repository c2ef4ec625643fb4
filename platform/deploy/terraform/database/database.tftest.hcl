mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }
}

variables {
  name               = "mainspring-test"
  vpc_id             = "vpc-1"
  subnet_ids         = ["subnet-1", "subnet-2"]
  workloads_group_id = "sg-1"
  is_production      = true
}

run "production_is_kept" {
  command = apply

  assert {
    condition     = aws_db_instance.this.deletion_protection && aws_db_instance.this.multi_az && !aws_db_instance.this.skip_final_snapshot
    error_message = "production has a standby and is not deleted by mistake"
  }
  assert {
    condition     = aws_db_instance.this.backup_retention_period >= 30
    error_message = "a month can be gone back"
  }
}

run "closed_and_encrypted_everywhere" {
  command = apply

  variables {
    is_production = false
  }

  assert {
    condition     = aws_db_instance.this.storage_encrypted && !aws_db_instance.this.publicly_accessible
    error_message = "encrypted, and private"
  }
  assert {
    condition     = contains([for p in aws_db_parameter_group.this.parameter : "${p.name}=${p.value}"], "rds.force_ssl=1")
    error_message = "TLS alone"
  }
  assert {
    condition     = aws_db_instance.this.password == null && aws_db_instance.this.manage_master_user_password
    error_message = "no password in a state file"
  }
}

run "one_zone_is_refused" {
  command = plan

  variables {
    subnet_ids = ["subnet-1"]
  }

  expect_failures = [var.subnet_ids]
}
