environment    = "staging"
region         = "eu-central-1"
zones          = ["eu-central-1a", "eu-central-1b"]
cidr           = "10.80.0.0/16"
bucket_prefix  = "example"
database_class = "db.t4g.large"
owner          = "ml-platform"
cost_center    = "ml-platform"

node_groups = {
  stays = { instance_types = ["m7i.2xlarge"], min = 2, max = 4 }
  spot  = { instance_types = ["c7i.4xlarge", "c6i.4xlarge", "m7i.4xlarge"], min = 0, max = 8, is_spot = true }
}
