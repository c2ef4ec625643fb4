"""Evaluates a suite over a batch: whatever is asked of it becomes one Polars query, streamed once over its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import polars as pl

from mainspring.core import errors, projects
from mainspring.core.quality import expectations, spread, statistics
from mainspring.core.quality.report import QualityReport

__all__ = ["Frame", "evaluate"]

Frame: TypeAlias = pl.DataFrame | pl.LazyFrame
_Row: TypeAlias = Mapping[str, Any]
_Engine: TypeAlias = Literal["streaming", "in-memory"]
_ROWS: Final = "rows"


@dataclass(frozen=True)
class _Question:
    """What one expectation asks of the rows, and what it makes of the answer: expected, observed, ok."""

    asks: Mapping[str, pl.Expr]
    judges: Callable[[_Row], tuple[str, str, bool]]


def evaluate(
    suite: expectations.Suite,
    batch: Frame,
    *,
    others: Mapping[str, Frame] | None = None,
    accepted: QualityReport | None = None,
    with_statistics: bool = True,
) -> QualityReport:
    """The report of `batch`. `others` are the datasets that `References` names; `accepted` is the last accepted report.

    An expectation that cannot be evaluated, because its column is absent or of a type that has no such answer, fails.
    `with_statistics` False leaves out the columns' statistics, which cost more than most suites.
    Memory:  what is distinct in the columns of `Unique`, and the keys of `others`; the rows are streamed.
    Errors:  InvalidRequest if `others` lacks a dataset; DataInvalid if the rows do not read.
    """
    frame = batch.lazy()
    # What is in memory is not streamed into it again: that costs a small batch milliseconds.
    engine: _Engine = "streaming" if isinstance(batch, pl.LazyFrame) else "in-memory"
    try:
        found = dict(frame.collect_schema())
    except pl.exceptions.PolarsError as error:
        raise _unreadable(suite, error) from error
    typed = [
        (e, _columns(suite, e, found)) for e in suite.expectations if isinstance(e, expectations.Columns)
    ]
    if not all(check.ok or not e.fatal for e, check in typed):
        rows = _collect(suite, frame, {_ROWS: pl.len()}, engine)[_ROWS]
        return QualityReport(
            dataset=suite.dataset,
            suite=suite.digest,
            rows=rows,
            checks=tuple(check for _, check in typed),
        )
    joined, unanswered = _joined(suite, frame, others or {})
    questions = _questions(suite, joined, found, accepted, unanswered)
    profiled = {
        e.column: found[e.column]
        for i, e in enumerate(suite.expectations)
        if isinstance(e, expectations.Distribution) and i in questions
    }
    told = found if with_statistics else {}
    asks = {_ROWS: pl.len()} | statistics.asks(told) | spread.asks(profiled)
    for question in questions.values():
        asks |= question.asks
    answer = _collect(suite, joined, asks, engine)
    checks = [check for _, check in typed]
    for i, expectation in enumerate(suite.expectations):
        if i in questions:
            checks.append(_result(suite, expectation, *questions[i].judges(answer)))
        elif i in unanswered:
            checks.append(_result(suite, expectation, "an answer", unanswered[i], False))
    return QualityReport(
        dataset=suite.dataset,
        suite=suite.digest,
        rows=answer[_ROWS],
        checks=tuple(checks),
        columns=statistics.read(told, answer),
        profiles=spread.read(profiled, answer),
    )


def _questions(
    suite: expectations.Suite,
    frame: pl.LazyFrame,
    found: Mapping[str, pl.DataType],
    accepted: QualityReport | None,
    unanswered: dict[int, str],
) -> dict[int, _Question]:
    """By place what each expectation asks; why one cannot be asked goes into `unanswered`."""
    questions: dict[int, _Question] = {}
    for i, expectation in enumerate(suite.expectations):
        if isinstance(expectation, expectations.Columns) or i in unanswered:
            continue
        if problem := _absent(expectation, found):
            unanswered[i] = problem
            continue
        try:
            questions[i] = _question(i, expectation, found, accepted)
        except pl.exceptions.PolarsError as error:
            unanswered[i] = str(error).splitlines()[0]
    together = {name: expr for q in questions.values() for name, expr in q.asks.items()}
    try:
        frame.select(pl.len(), **together).collect_schema()
        return questions
    except pl.exceptions.PolarsError:
        pass  # one of them: which, is asked one by one
    for i in list(questions):
        try:
            frame.select(pl.len(), **questions[i].asks).collect_schema()
        except pl.exceptions.PolarsError as error:
            unanswered[i] = str(error).splitlines()[0]
            del questions[i]
    return questions


def _collect(
    suite: expectations.Suite, frame: pl.LazyFrame, asks: Mapping[str, pl.Expr], engine: _Engine
) -> dict[str, Any]:
    try:
        return frame.select(**asks).collect(engine=engine).row(0, named=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(suite, error) from error


def _unreadable(suite: expectations.Suite, error: Exception) -> errors.DataInvalid:
    return errors.DataInvalid(
        f"a batch of `{suite.dataset}` does not read: {error}; make it again from its source",
        dataset=suite.dataset,
        failed=("readable",),
    )


def _columns(
    suite: expectations.Suite, expectation: expectations.Columns, found: Mapping[str, pl.DataType]
) -> projects.CheckResult:
    got = {c: str(found[c]) if c in found else "absent" for c in expectation.types}
    wrong = {c: kind for c, kind in expectation.types.items() if got[c] != kind}
    all_right = f"{len(expectation.types)} columns as declared"
    return _result(
        suite,
        expectation,
        ", ".join(f"{c} {kind}" for c, kind in wrong.items()) or all_right,
        ", ".join(f"{c} {got[c]}" for c in wrong) or all_right,
        not wrong,
    )


def _result(
    suite: expectations.Suite, expectation: expectations.Expectation, expected: str, observed: str, ok: bool
) -> projects.CheckResult:
    return projects.CheckResult(
        name=suite.name(expectation), expected=expected, observed=observed, ok=ok, fatal=expectation.fatal
    )


def _absent(expectation: expectations.Expectation, found: Mapping[str, pl.DataType]) -> str:
    missing = [c for c in expectation.columns if c not in found]
    return f"no column `{missing[0]}`" if missing else ""


def _joined(
    suite: expectations.Suite, frame: pl.LazyFrame, others: Mapping[str, Frame]
) -> tuple[pl.LazyFrame, dict[int, str]]:
    """The batch with a mark for each reference that was found, and why a reference cannot be looked for."""
    problems: dict[int, str] = {}
    found = frame.collect_schema()
    for i, expectation in enumerate(suite.expectations):
        if not isinstance(expectation, expectations.References):
            continue
        if expectation.of not in others:
            raise errors.InvalidRequest(
                f"`{suite.name(expectation)}` needs the rows of `{expectation.of}`; give them beside the batch",
                field="others",
            )
        if _absent(expectation, found):
            continue
        names = [f"{_mark(i)}_{j}" for j in range(len(expectation.columns))]
        renamed = [pl.col(to).alias(name) for to, name in zip(expectation.referred, names, strict=True)]
        keys = others[expectation.of].lazy().select(renamed).drop_nulls().unique()
        try:
            wider = frame.join(
                keys.with_columns(pl.lit(True).alias(_mark(i))),
                left_on=list(expectation.columns),
                right_on=names,
                how="left",
            )
            wider.collect_schema()
            frame = wider
        except pl.exceptions.PolarsError as error:
            problems[i] = str(error).splitlines()[0]
    return frame, problems


def _mark(i: int) -> str:
    return f"__reference_{i}"


def _question(
    i: int,
    expectation: expectations.Expectation,
    found: Mapping[str, pl.DataType],
    accepted: QualityReport | None,
) -> _Question:
    match expectation:
        case expectations.Rows():
            return _rows(expectation)
        case expectations.NotNull(columns=columns):
            missing = pl.any_horizontal(statistics.missing(c, found[c]) for c in columns)
            return _at_most(i, missing, expectation.at_most)
        case expectations.Range(column=column):
            value = pl.col(column)
            outside = ~value.is_between(expectation.low, expectation.high)
            if found[column].is_float():
                outside &= value.is_not_nan()
            return _at_most(i, outside, expectation.at_most)
        case expectations.Unique(columns=columns):
            repeated = pl.len() - pl.struct(*columns).n_unique()
            return _count(i, repeated.cast(pl.Int64), 0.0, "rows repeat another")
        case expectations.References():
            alone = pl.col(_mark(i)).is_null()
            if expectation.null_passes:
                alone &= pl.all_horizontal(pl.col(c).is_not_null() for c in expectation.columns)
            return _at_most(i, alone, expectation.at_most)
        case expectations.Share():
            return _share(i, expectation)
        case expectations.Distribution():
            return _distribution(i, expectation, found[expectation.column], accepted)
        case expectations.Columns():
            raise errors.InvariantViolated("columns are compared before rows", where="quality.measures")


def _rows(expectation: expectations.Rows) -> _Question:
    low, high = expectation.at_least, expectation.at_most
    expected = f"at least {low}" if high is None else f"{low} to {high}"

    def judge(answer: _Row) -> tuple[str, str, bool]:
        n = int(answer[_ROWS])
        return expected, str(n), low <= n and (high is None or n <= high)

    return _Question({}, judge)


def _at_most(i: int, fails: pl.Expr, at_most: float) -> _Question:
    return _count(i, fails.sum().cast(pl.Int64), at_most, "rows do not hold")


def _count(i: int, counted: pl.Expr, at_most: float, what: str) -> _Question:
    key = f"count_{i}"

    def judge(answer: _Row) -> tuple[str, str, bool]:
        n, rows = int(answer[key] or 0), int(answer[_ROWS])
        observed = f"{n / rows if rows else 0.0:.6g} ({n} of {rows} {what})"
        return f"at most {at_most:g}", observed, n <= at_most * rows

    return _Question({key: counted}, judge)


def _share(i: int, expectation: expectations.Share) -> _Question:
    try:
        where = pl.sql_expr(expectation.where)
    except pl.exceptions.PolarsError as error:
        raise pl.exceptions.InvalidOperationError(f"`{expectation.where}`: {error}") from error
    low, high = expectation.at_least, expectation.at_most
    expected = f"at least {low:g}" if high == 1.0 else f"{low:g} to {high:g}" if low else f"at most {high:g}"

    def judge(answer: _Row) -> tuple[str, str, bool]:
        true, told = int(answer[f"true_{i}"] or 0), int(answer[f"told_{i}"] or 0)
        if not told:
            return expected, "no row that tells", True
        return expected, f"{true / told:.6g} ({true} of {told} rows)", low <= true / told <= high

    counted = {f"true_{i}": where.sum().cast(pl.Int64), f"told_{i}": where.is_not_null().sum()}
    return _Question(counted, judge)


def _distribution(
    i: int, expectation: expectations.Distribution, dtype: pl.DataType, accepted: QualityReport | None
) -> _Question:
    before = None if accepted is None else accepted.profile(expectation.column)
    expected = f"PSI at most {expectation.at_most:g}"
    if before is None:
        return _Question({}, lambda _: (expected, "no accepted batch to compare with", True))
    if (before.edges is not None) != spread.is_number(dtype):
        kind = "numbers" if before.edges is not None else "values"
        raise pl.exceptions.SchemaError(f"`{expectation.column}` was {kind} and is {dtype}")
    counts = spread.counts(before, expectation.column, dtype)

    def judge(answer: _Row) -> tuple[str, str, bool]:
        now = spread.counted(
            before, {name: int(answer[f"{name}_{i}"] or 0) for name in counts}, answer[_ROWS]
        )
        few = min(before.rows, now.rows)
        if few < expectation.min_rows:
            return expected, f"{few} rows, too few to compare", True
        psi = spread.psi(before, now)
        return expected, f"PSI {psi:.4g}", psi <= expectation.at_most

    return _Question({f"{name}_{i}": expr for name, expr in counts.items()}, judge)
