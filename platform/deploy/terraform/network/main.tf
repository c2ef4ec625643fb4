# A network without a way in but the load balancer's, and without a way out but the listed ones.
# Private subnets in `zones`; the cloud's own services are reached through endpoints, never through the internet.

locals {
  subnets = { for i, zone in var.zones : zone => cidrsubnet(var.cidr, 4, i) }
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = { Name = var.name }
}

resource "aws_subnet" "private" {
  for_each          = local.subnets
  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = each.value
  tags              = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-private" }
}

resource "aws_route_table_association" "private" {
  for_each       = aws_subnet.private
  route_table_id = aws_route_table.private.id
  subnet_id      = each.value.id
}

# Without rules nobody who forgets a group gets anything from it.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
}

resource "aws_security_group" "workloads" {
  name        = "${var.name}-workloads"
  description = "What runs the platform"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-workloads" }
}

resource "aws_vpc_security_group_ingress_rule" "among_workloads" {
  security_group_id            = aws_security_group.workloads.id
  description                  = "Workloads among themselves; network policies say which"
  referenced_security_group_id = aws_security_group.workloads.id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_egress_rule" "inside" {
  security_group_id = aws_security_group.workloads.id
  description       = "Inside the network"
  cidr_ipv4         = var.cidr
  ip_protocol       = "-1"
}

resource "aws_vpc_security_group_egress_rule" "allowed" {
  for_each          = var.egress
  security_group_id = aws_security_group.workloads.id
  description       = each.key
  cidr_ipv4         = each.value.cidr
  from_port         = each.value.port
  to_port           = each.value.port
  ip_protocol       = "tcp"
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "The cloud's services from inside"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id            = aws_security_group.endpoints.id
  description                  = "Workloads ask over TLS"
  referenced_security_group_id = aws_security_group.workloads.id
  from_port                    = 443
  to_port                      = 443
  ip_protocol                  = "tcp"
}

resource "aws_vpc_endpoint" "objects" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
  tags              = { Name = "${var.name}-s3" }
}

resource "aws_vpc_endpoint" "services" {
  for_each            = var.services
  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.${each.value}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  tags                = { Name = "${var.name}-${each.value}" }
}
