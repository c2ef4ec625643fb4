# PostgreSQL of the control API, Temporal and MLflow: private, encrypted, TLS alone, backed up, and not deleted by mistake.

resource "aws_kms_key" "database" {
  description             = "${var.name}: database"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_security_group" "database" {
  name        = "${var.name}-database"
  description = "PostgreSQL"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-database" }
}

resource "aws_vpc_security_group_ingress_rule" "from_workloads" {
  security_group_id            = aws_security_group.database.id
  description                  = "Workloads alone"
  referenced_security_group_id = var.workloads_group_id
  from_port                    = 5432
  to_port                      = 5432
  ip_protocol                  = "tcp"
}

resource "aws_db_parameter_group" "this" {
  name   = var.name
  family = "postgres15"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
  # Who did what beside the control API is on record in the database's own log.
  parameter {
    name  = "log_statement"
    value = "ddl"
  }
}

resource "aws_db_instance" "this" {
  identifier                          = var.name
  engine                              = "postgres"
  engine_version                      = "15"
  instance_class                      = var.instance_class
  allocated_storage                   = var.storage_gib
  max_allocated_storage               = var.storage_gib * 4
  storage_type                        = "gp3"
  storage_encrypted                   = true
  kms_key_id                          = aws_kms_key.database.arn
  db_name                             = "mainspring"
  username                            = "owner"
  manage_master_user_password         = true
  iam_database_authentication_enabled = true
  db_subnet_group_name                = aws_db_subnet_group.this.name
  vpc_security_group_ids              = [aws_security_group.database.id]
  parameter_group_name                = aws_db_parameter_group.this.name
  publicly_accessible                 = false
  multi_az                            = var.is_production
  backup_retention_period             = var.is_production ? 35 : 7
  deletion_protection                 = var.is_production
  skip_final_snapshot                 = !var.is_production
  final_snapshot_identifier           = var.is_production ? "${var.name}-last" : null
  auto_minor_version_upgrade          = true
  copy_tags_to_snapshot               = true
  enabled_cloudwatch_logs_exports     = ["postgresql"]
  performance_insights_enabled        = true
}
