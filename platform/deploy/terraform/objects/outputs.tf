output "buckets" {
  description = "Name of each bucket by what it is for."
  value       = { for name, bucket in aws_s3_bucket.this : name => bucket.bucket }
}

output "bucket_arns" {
  description = "ARN of each bucket by what it is for."
  value       = { for name, bucket in aws_s3_bucket.this : name => bucket.arn }
}

output "key_arn" {
  description = "The key that encrypts them."
  value       = aws_kms_key.objects.arn
}
