output "name" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "issuer" {
  description = "Issuer of the service accounts' tokens, without its scheme."
  value       = trimprefix(aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://")
}

output "issuer_arn" {
  description = "The same as identity provider of the account."
  value       = aws_iam_openid_connect_provider.this.arn
}
