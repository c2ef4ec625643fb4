"""Projects, who works in them, what they deploy to, and what each may have."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from mainspring.platform.database.metadata import TEXT, metadata

projects: Final = sa.Table(
    "projects",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("description", TEXT, nullable=False),
    sa.Column("monthly_budget_nanos", sa.BigInteger),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("created_by", TEXT, nullable=False),
    sa.Column("tags", sa.JSON),
)

#: `roles`: lists by environment; `*` is every environment.
members: Final = sa.Table(
    "members",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("actor", TEXT, primary_key=True, index=True),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
)

#: A name is of the whole platform, and of the project that first asked for it.
endpoints: Final = sa.Table(
    "endpoints",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("claimed_at", TEXT, nullable=False),
    sa.Column("claimed_by", TEXT, nullable=False),
)

#: Roles for a time, asked for, in force or over; `roles` as of members, one role in one place.
access_requests: Final = sa.Table(
    "access_requests",
    metadata,
    sa.Column("request_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("actor", TEXT, nullable=False, index=True),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("role", TEXT, nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("minutes", sa.Integer, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("is_break_glass", sa.Boolean, nullable=False),
    sa.Column("state", TEXT, nullable=False, index=True),
    sa.Column("requested_at", TEXT, nullable=False),
    sa.Column("due_at", TEXT, nullable=False),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
    sa.Column("starts_at", TEXT),
    sa.Column("ends_at", TEXT),
    sa.Column("ended_by", TEXT, nullable=False),
    sa.Column("end_reason", TEXT, nullable=False),
    sa.Column("reviewed_at", TEXT),
    sa.Column("reviewed_by", TEXT, nullable=False),
    sa.Column("review", TEXT, nullable=False),
    # Nobody asks twice for what he has or has asked for.
    sa.Index(
        "access_requests_once",
        "project",
        "actor",
        "environment",
        "role",
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'active')"),
        postgresql_where=sa.text("state IN ('open', 'active')"),
    ),
)

#: Where secrets lie; no secret is in it.
secret_refs: Final = sa.Table(
    "secret_refs",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("place", TEXT, nullable=False),
    sa.Column("description", TEXT, nullable=False),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
)

#: Actors that are programs; of a secret there is its SHA-256. Their roles are those of `members`.
service_accounts: Final = sa.Table(
    "service_accounts",
    metadata,
    sa.Column("actor", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("description", TEXT, nullable=False),
    sa.Column("secret_sha256", TEXT, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("created_by", TEXT, nullable=False),
    sa.Column("rotated_at", TEXT, nullable=False),
    sa.Column("disabled_at", TEXT),
    sa.Column("last_used_on", TEXT, nullable=False),
    sa.Index("service_accounts_of_project", "project", "name", unique=True),
)

#: Their tokens, by SHA-256; empty `roles`, `environment`: all that the account has.
service_account_tokens: Final = sa.Table(
    "service_account_tokens",
    metadata,
    sa.Column("token_sha256", TEXT, primary_key=True),
    sa.Column("actor", sa.ForeignKey("service_accounts.actor"), nullable=False, index=True),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("expires_at", TEXT, nullable=False),
)

#: What projects may have at once; NULL: as settings say.
quotas: Final = sa.Table(
    "quotas",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("max_open_runs", sa.Integer),
    sa.Column("max_workers", sa.Integer),
    sa.Column("max_endpoints", sa.Integer),
    sa.Column("max_storage_mib", sa.Integer),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
)
