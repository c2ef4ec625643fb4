output "cluster" {
  description = "Name of the cluster, for `aws eks update-kubeconfig`."
  value       = module.cluster.name
}

output "database" {
  description = "Host of the database, and where its owner's password is."
  value       = { address = module.database.address, owner_secret = module.database.owner_secret_arn }
}

output "buckets" {
  description = "Names of the buckets, for the overlay's settings."
  value       = module.objects.buckets
}

output "roles" {
  description = "Role of each workload, for the overlay's service accounts."
  value       = module.identity.role_arns
}
