"""Which columns may tell of persons, by their names and by a sample of their values. Nothing leaves here but counts.

Our own, of patterns with check digits, and not a language model's: it runs on every batch in milliseconds, needs no model
that must be fetched and trusted, and says why. What it cannot find by shape, names of people in free text, a person
declares; `docs/adr/0041-what-tells-of-persons.md` has the measurements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from mainspring.core.contracts.protection import KINDS, ColumnFinding, PiiKind
from mainspring.core.protection import naming, shapes

__all__ = ["LEAST", "SAMPLE_ROWS", "detect", "sample"]

#: Rows of a sample: a share of 1 % is seen in it all but certainly.
SAMPLE_ROWS: Final = 10_000
#: What is less sure is not worth anybody's time.
LEAST: Final = 0.3
#: A column is of a shape if so much of it is; the rest may be mistyped.
_MOST: Final = 0.7
#: Free text has something inside if so much of it has.
_SOME: Final = 0.01
#: So many values contradict a name of whose kind none is.
_ENOUGH_TO_CONTRADICT: Final = 20
_CONTRADICTED: Final = 0.4
#: Kinds that have a shape: a name that says so while no value looks so is doubted.
_SHAPED: Final = frozenset({"email", "card_number", "bank_account", "ip_address", "device"})


def sample(frame: pl.LazyFrame, rows: int = SAMPLE_ROWS) -> pl.DataFrame:
    """About `rows` rows spread over the whole frame, so that a batch sorted by source is not judged by its first."""
    total = int(frame.select(pl.len()).collect().item())
    return frame.gather_every(max(1, -(-total // rows))).collect()


def detect(rows: pl.DataFrame) -> list[ColumnFinding]:
    """A finding for each column that may tell of persons, in the frame's order.

    Names and values say it together: two signs of one kind are surer than each, and a name of a kind that has a shape is
    doubted where no value has it. Text and whole numbers are looked at; lists and structs by their names alone.
    Missing: nulls and empty texts count for nothing. Values never raise.
    """
    return [found for name in rows.columns if (found := _column(name, rows[name])) is not None]


def _column(name: str, values: pl.Series) -> ColumnFinding | None:
    signs: dict[PiiKind, float] = {}
    reasons: list[str] = []
    said = naming.hint(name)
    if said is not None:
        signs[said.kind] = said.confidence
        reasons.append(f"its name says `{said.said}`")
    text = _text(values)
    looked_at = 0 if text is None else text.len()
    if text is not None and looked_at:
        seen = list(_looks(text))
        is_doubtful = said is not None and said.kind in _SHAPED and looked_at >= _ENOUGH_TO_CONTRADICT
        if is_doubtful and said is not None and said.kind not in {kind for kind, _, _ in seen}:
            signs[said.kind] *= _CONTRADICTED
            reasons.append(f"none of {looked_at} values looks so")
        for kind, certainty, why in seen:
            signs[kind] = 1 - (1 - signs.get(kind, 0.0)) * (1 - certainty)
            reasons.append(why)
    return _finding(name, signs, reasons, looked_at) if max(signs.values(), default=0.0) >= LEAST else None


def _text(values: pl.Series) -> pl.Series | None:
    """The values as text, without missing ones; None for a type that holds no shape."""
    if values.dtype in (pl.Categorical, pl.Enum) or values.dtype.is_integer():
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        return None
    text = values.drop_nulls().str.strip_chars().rename("value")
    return text.filter(text != "")


def _looks(text: pl.Series) -> Iterator[tuple[PiiKind, float, str]]:
    """Kinds that the values look like, how sure that makes it, and why."""
    whole = {f"whole{i}": shape for i, shape in enumerate(shapes.SHAPES)}
    inside = {f"inside{i}": shape for i, shape in enumerate(shapes.INSIDE)}
    asked = [shape.matches.mean().alias(name) for name, shape in (whole | inside).items()]
    shares: dict[str, float] = text.to_frame().select(asked).row(0, named=True)
    of_whole = set()
    for name, shape in whole.items():
        if shares[name] >= _MOST:
            of_whole.add(shape.kind)
            yield (
                shape.kind,
                shape.certainty * shares[name],
                f"{shares[name]:.0%} of {text.len()} values {shape.says}",
            )
    for name, shape in inside.items():
        if shape.kind not in of_whole and shares[name] >= _SOME:
            yield shape.kind, shape.certainty, f"{shares[name]:.1%} of {text.len()} values {shape.says}"


def _finding(
    column: str, signs: Mapping[PiiKind, float], reasons: list[str], looked_at: int
) -> ColumnFinding:
    kind = max(signs, key=lambda k: signs[k])
    return ColumnFinding(
        column=column,
        kind=kind,
        classification=KINDS[kind],
        confidence=round(min(1.0, signs[kind]), 4),
        reasons=tuple(reason[:200] for reason in reasons[:8]),
        sampled_rows=looked_at,
    )
