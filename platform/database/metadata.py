"""What all tables are made of."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

#: Names that Alembic can tell from the database's.
metadata: Final = sa.MetaData()

#: Text that compares by code point on every engine: cursors and times rely on the order.
TEXT: Final = sa.String().with_variant(sa.String(collation="C"), "postgresql")
#: SQLite counts in 64 bits anyway, and numbers rows by itself only in a column of exactly this name.
NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
