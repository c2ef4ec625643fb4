"""What a run may cost since it was resumed, where that is not what it was started with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("runs", sa.Column("max_cost_nanos", sa.BigInteger))
