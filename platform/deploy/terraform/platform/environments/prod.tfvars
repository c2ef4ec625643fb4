environment    = "prod"
region         = "eu-central-1"
zones          = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
cidr           = "10.96.0.0/16"
bucket_prefix  = "example"
database_class = "db.r7g.large"
owner          = "ml-platform"
cost_center    = "ml-platform"

node_groups = {
  stays = { instance_types = ["m7i.2xlarge"], min = 3, max = 12 }
  spot  = { instance_types = ["c7i.4xlarge", "c6i.4xlarge", "m7i.4xlarge"], min = 0, max = 40, is_spot = true }
}
