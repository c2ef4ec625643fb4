output "address" {
  description = "Host name of the database."
  value       = aws_db_instance.this.address
}

output "owner_secret_arn" {
  description = "Where the owner's password is; it is nowhere else, and it rotates."
  value       = one(aws_db_instance.this.master_user_secret[*].secret_arn)
}
