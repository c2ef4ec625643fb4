"""A real table into a synthetic one and its report: nothing is written that tells of anybody."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from mainspring.core import canonical, durable
from mainspring.core.contracts.protection import ColumnFinding, PiiKind
from mainspring.core.contracts.synthetic import SyntheticReport
from mainspring.core.synthetic import copula, judging, marks

__all__ = ["LOOKED_AT_ROWS", "IDENTIFIES", "identifiers_of", "synthesise"]

#: Real rows that are looked at, at random over the whole table: half to make it of, and half held back to judge it by, as many of
#: each so that who is nearer to one half than to the other is seen.
LOOKED_AT_ROWS: Final = 100_000
#: What names a person by itself, or leads to one.
IDENTIFIES: Final[frozenset[PiiKind]] = frozenset(
    {
        "address", "bank_account", "card_number", "credential", "device", "email", "ip_address", "national_id", "person_key",
        "person_name", "phone",
    }
)  # fmt: skip


def identifiers_of(findings: Collection[ColumnFinding]) -> set[str]:
    """Columns that are made anew, by what a detector found."""
    return {found.column for found in findings if found.kind in IDENTIFIES}


def synthesise(
    real: pl.LazyFrame,
    out: Path,
    *,
    rows: int,
    seed: int,
    identifiers: Collection[str] = (),
    target: str = "",
) -> SyntheticReport:
    """Write `rows` synthetic rows as Parquet to `out`, and what they are worth to `out` with `.report.json` behind it.

    The file is marked as synthetic (`marks.py`), by the report's digest.
    Memory: of `LOOKED_AT_ROWS` rows, however many there are and are asked for.
    Errors: InvalidRequest of `copula.fit`; PolicyDenied by `synthetic.private`, and then nothing is written; OSError.
    """
    taken = _taken(real, seed)
    half = taken.height // 2
    fitted, held = taken.slice(half), taken.slice(0, half)
    model = copula.fit(fitted, identifiers=identifiers, target=target, seed=seed)
    # To be judged there are as many as were held back, however few are asked for.
    looked_at = next(model.rows(max(1, min(max(rows, half), copula.CHUNK_ROWS)), seed))
    report = judging.judge(
        looked_at, fitted, held, rows=rows, seed=seed, identifiers=sorted(identifiers), target=target
    )
    judging.require_private(report)

    def write(fresh: Path) -> None:
        judged_by = canonical.digest(report.model_dump(mode="json"))
        schema = marks.mark(looked_at.head(0).to_arrow().schema, judged_by)
        with pq.ParquetWriter(fresh, schema) as writer:
            for part in model.rows(rows, seed):
                writer.write_table(part.to_arrow().cast(schema))

    durable.place_file(out, write)
    durable.replace_file(out.with_name(out.name + ".report.json"), report.model_dump_json(indent=1))
    return report


def _taken(real: pl.LazyFrame, seed: int) -> pl.DataFrame:
    """Rows in an order of chance: those held back are like the others, whatever the table is sorted by."""
    total = int(real.select(pl.len()).collect().item())
    rng = np.random.default_rng(seed)
    if total <= LOOKED_AT_ROWS:
        found = real.collect()
    else:
        chosen = np.sort(rng.choice(total, LOOKED_AT_ROWS, replace=False)).astype(np.uint32)
        at = pl.LazyFrame({"row": chosen}, schema={"row": pl.get_index_type()})
        found = (
            real.with_row_index("row").join(at, on="row", how="semi").drop("row").collect(engine="streaming")
        )
    return found[rng.permutation(found.height)]
