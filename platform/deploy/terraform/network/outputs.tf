output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "subnet_ids" {
  description = "The private subnets, one a zone."
  value       = [for subnet in aws_subnet.private : subnet.id]
}

output "workloads_group_id" {
  description = "The security group of what runs the platform."
  value       = aws_security_group.workloads.id
}
