"""Whose each endpoint is: of the project that first asked for it, as the runs on record say."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    endpoints = op.create_table(
        "endpoints",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("claimed_at", TEXT, nullable=False),
        sa.Column("claimed_by", TEXT, nullable=False),
    )
    op.create_index("ix_endpoints_project", "endpoints", ["project"])
    claims: dict[str, dict[str, str]] = {}
    found = op.get_bind().execute(
        sa.text(
            "SELECT project, environment, created_at, requested_by, request FROM runs"
            " WHERE kind IN ('deploy', 'train', 'tune') ORDER BY run_id"
        )
    )
    for project, environment, created_at, requested_by, request in found:
        asked = json.loads(request) if isinstance(request, str) else request
        if name := asked.get("endpoint"):
            claims.setdefault(
                name,
                {
                    "name": name,
                    "project": project,
                    "environment": environment,
                    "claimed_at": created_at,
                    "claimed_by": requested_by,
                },
            )
    if claims:
        op.bulk_insert(endpoints, list(claims.values()))
