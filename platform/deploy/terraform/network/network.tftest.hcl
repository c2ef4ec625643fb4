mock_provider "aws" {}

variables {
  name   = "mainspring-test"
  region = "eu-central-1"
  zones  = ["eu-central-1a", "eu-central-1b"]
}

run "closed_by_default" {
  command = plan

  assert {
    condition     = length(aws_subnet.private) == 2
    error_message = "one subnet a zone"
  }
  assert {
    condition     = alltrue([for subnet in aws_subnet.private : subnet.map_public_ip_on_launch != true])
    error_message = "nothing in it has a public address"
  }
  assert {
    condition     = length(aws_vpc_security_group_egress_rule.allowed) == 0
    error_message = "nothing outside is reached unless it is listed"
  }
  assert {
    condition     = aws_vpc_endpoint.objects.vpc_endpoint_type == "Gateway"
    error_message = "objects are reached inside the network"
  }
}

run "listed_ways_out" {
  command = plan

  variables {
    egress = { "identity provider" = { cidr = "203.0.113.7/32", port = 443 } }
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.allowed["identity provider"].to_port == 443
    error_message = "the listed way out is there"
  }
}

run "no_way_out_to_everybody" {
  command = plan

  variables {
    egress = { "all" = { cidr = "0.0.0.0/0", port = 443 } }
  }

  expect_failures = [var.egress]
}

run "one_zone_is_refused" {
  command = plan

  variables {
    zones = ["eu-central-1a"]
  }

  expect_failures = [var.zones]
}
