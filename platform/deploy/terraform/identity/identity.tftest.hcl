mock_provider "aws" {
  # What would be asked is read from the arguments below, not from the JSON that a real provider makes of them.
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mainspring-test" }
  }
}

variables {
  name       = "mainspring-test"
  issuer     = "oidc.example.com/id/1"
  issuer_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"
  key_arn    = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  bucket_arns = {
    data        = "arn:aws:s3:::mainspring-test-data"
    artifacts   = "arn:aws:s3:::mainspring-test-artifacts"
    checkpoints = "arn:aws:s3:::mainspring-test-checkpoints"
  }
}

run "each_role_is_of_one_account" {
  command = apply

  assert {
    condition = alltrue([
      for name, document in data.aws_iam_policy_document.may_be_taken_by :
      contains(flatten(document.statement[0].condition[*].values), "system:serviceaccount:mainspring:mainspring-${name}")
    ])
    error_message = "a role is taken by its own service account alone"
  }
  assert {
    condition     = alltrue([for document in data.aws_iam_policy_document.may_be_taken_by : length(document.statement[0].condition) == 2])
    error_message = "and by a token that was made for it"
  }
}

run "nobody_may_all" {
  command = apply

  assert {
    condition = alltrue(flatten([
      for document in data.aws_iam_policy_document.may :
      [for statement in document.statement : [for action in statement.actions : !strcontains(action, "*")]]
    ]))
    error_message = "no role may everything of a kind"
  }
  assert {
    condition = !anytrue(flatten([
      for document in data.aws_iam_policy_document.may :
      [for statement in document.statement : [for action in statement.actions : strcontains(action, "Delete")]]
    ]))
    error_message = "no role removes objects: retention is the buckets' own"
  }
  assert {
    condition = [
      for name, document in data.aws_iam_policy_document.may : name
      if anytrue([for s in document.statement : contains(s.resources, var.bucket_arns.checkpoints)])
    ] == ["control"]
    error_message = "checkpoints are the control API's"
  }
}

run "an_issuer_with_its_scheme_is_refused" {
  command = plan

  variables {
    issuer = "https://oidc.example.com/id/1"
  }

  expect_failures = [var.issuer]
}
