"""What a detector found of persons in columns and what was decided about it; impact assessments and
privacy budgets of projects.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "classifications",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("entry", TEXT, primary_key=True),
        sa.Column("column_name", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("classification", TEXT, nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("sampled_rows", sa.BigInteger, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("found_at", TEXT, nullable=False),
        sa.Column("found_by", TEXT, nullable=False),
        sa.Column("decided_at", TEXT),
        sa.Column("decided_by", TEXT, nullable=False),
        sa.Column("decision_reason", TEXT, nullable=False),
    )
    op.create_table(
        "dpias",
        sa.Column("dpia_id", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("answers", sa.JSON, nullable=False),
        sa.Column("risk", TEXT, nullable=False),
        sa.Column("score", sa.Integer, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("submitted_at", TEXT, nullable=False),
        sa.Column("submitted_by", TEXT, nullable=False),
        sa.Column("decided_at", TEXT),
        sa.Column("decided_by", TEXT, nullable=False),
        sa.Column("decision_reason", TEXT, nullable=False),
        sa.Column("valid_until", TEXT),
    )
    op.create_index("ix_dpias_project", "dpias", ["project"])
    for state in ("open", "signed"):
        one = sa.text(f"state = '{state}'")
        op.create_index(
            f"dpias_{state}", "dpias", ["project"], unique=True, sqlite_where=one, postgresql_where=one
        )
    op.create_table(
        "privacy_budgets",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("dataset", TEXT, primary_key=True),
        sa.Column("nanos", sa.BigInteger, nullable=False),
        sa.Column("set_at", TEXT, nullable=False),
        sa.Column("set_by", TEXT, nullable=False),
    )
    op.create_table(
        "privacy_spends",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("spend_key", TEXT, primary_key=True),
        sa.Column("dataset", TEXT, nullable=False),
        sa.Column("nanos", sa.BigInteger, nullable=False),
        sa.Column("question", TEXT, nullable=False),
        sa.Column("column_name", TEXT, nullable=False),
        sa.Column("spent_at", TEXT, nullable=False),
        sa.Column("spent_by", TEXT, nullable=False),
    )
    op.create_index("ix_privacy_spends_dataset", "privacy_spends", ["dataset"])
