"""What is on record: the audit log, requests that come again, and what was read."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from mainspring.platform.database.metadata import NUMBER, TEXT, metadata

audit: Final = sa.Table(
    "audit",
    metadata,
    sa.Column("sequence", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("event_id", TEXT, nullable=False, unique=True),
    sa.Column("event_key", TEXT, unique=True),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("action", TEXT, nullable=False),
    sa.Column("resource", TEXT, nullable=False, index=True),
    sa.Column("outcome", TEXT, nullable=False),
    sa.Column("detail", TEXT, nullable=False),
    sa.Column("previous_hash", TEXT, nullable=False, unique=True),
    sa.Column("hash", TEXT, nullable=False),
    # NULL: of no project, or from before projects had chains.
    sa.Column("project", TEXT),
    sa.Column("project_sequence", NUMBER),
    sa.Column("project_previous", TEXT),
    sa.Index("audit_of_project", "project", "project_sequence", unique=True),
)

#: Requests by idempotency key; `status` is null while the first is under way.
request_keys: Final = sa.Table(
    "request_keys",
    metadata,
    sa.Column("actor", TEXT, primary_key=True),
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("fingerprint", TEXT, nullable=False),
    sa.Column("reserved_at", TEXT, nullable=False, index=True),
    sa.Column("status", sa.Integer),
    sa.Column("media_type", TEXT),
    sa.Column("body", TEXT),
)

#: What the policies answered about reads, counted by the hour; `project` is empty for all of them, and `*` for more than are told apart.
read_decisions: Final = sa.Table(
    "read_decisions",
    metadata,
    sa.Column("decision_key", TEXT, primary_key=True),
    sa.Column("first_at", TEXT, nullable=False, index=True),
    sa.Column("last_at", TEXT, nullable=False, index=True),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("action", TEXT, nullable=False),
    sa.Column("project", TEXT, nullable=False, index=True),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("policies", sa.JSON, nullable=False),
    sa.Column("version", TEXT, nullable=False),
    sa.Column("asked", sa.JSON, nullable=False),
    sa.Column("is_sensitive", sa.Boolean, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
)
