# Which workload may do what with which bucket: a role for each service account, taken by its own token alone.

locals {
  # What the manifests in `kubernetes/` call them, and no more than each needs.
  reads_data  = ["s3:GetObject", "s3:ListBucket"]
  writes_data = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]

  workloads = {
    control = { data = local.reads_data, checkpoints = local.writes_data }
    worker  = { data = local.writes_data, artifacts = local.writes_data }
    ray     = { data = local.writes_data, artifacts = local.writes_data }
    serving = { artifacts = local.reads_data }
    mlflow  = { artifacts = local.writes_data }
  }
}

data "aws_iam_policy_document" "may_be_taken_by" {
  for_each = local.workloads

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [var.issuer_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.issuer}:sub"
      values   = ["system:serviceaccount:${var.namespace}:mainspring-${each.key}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "may" {
  for_each = local.workloads

  dynamic "statement" {
    for_each = each.value

    content {
      sid       = title(statement.key)
      actions   = statement.value
      resources = [var.bucket_arns[statement.key], "${var.bucket_arns[statement.key]}/*"]
    }
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.key_arn]
  }
}

resource "aws_iam_role" "this" {
  for_each           = local.workloads
  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.may_be_taken_by[each.key].json
}

resource "aws_iam_role_policy" "this" {
  for_each = local.workloads
  name     = "objects"
  role     = aws_iam_role.this[each.key].id
  policy   = data.aws_iam_policy_document.may[each.key].json
}
