output "role_arns" {
  description = "Role of each workload, for the annotation of its service account."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}
