"""Whether a hard budget that is spent takes endpoints out of service."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    no = sa.Column("stop_endpoints", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("budgets", no)
