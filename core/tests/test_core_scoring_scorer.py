"""Scores as of each row's own time: the join, the derived features, the plan and the runtime, in that order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.contracts import inputs
from mainspring.core.features import ops, plan, schema
from mainspring.core.scoring import scorer

START = datetime(2013, 1, 1, tzinfo=UTC)
UTC_US = pl.Datetime("us", "UTC")
SERVICE = schema.FeatureService(
    name="delays",
    views=(
        schema.FeatureView(
            name="stats",
            keys=(schema.Column(name="carrier", dtype="string"),),
            fields=(schema.Column(name="share", dtype="float64"), schema.Column(name="kind", dtype="string")),
            ttl_seconds=3600,
        ),
    ),
)
REQUEST = (schema.Column(name="x", dtype="float32"), schema.Column(name="due_us", dtype="int64"))
VIEW = pl.DataFrame(
    {
        "carrier": ["UA", "UA", "AA"],
        "event_timestamp": [START, START + timedelta(minutes=30), START],
        "created_timestamp": [START, START + timedelta(minutes=30), START],
        "share": [1.0, 2.0, 8.0],
        "kind": ["old", "new", "old"],
    },
    schema_overrides={"event_timestamp": UTC_US, "created_timestamp": UTC_US},
)
FITTED = plan.TransformPlan(
    name="demo",
    columns=(
        plan.dense("stats__share", ops.Impute()),
        plan.dense("x", ops.Impute()),
        plan.dense("hour", ops.Impute()),
        plan.vocabulary("stats__kind"),
    ),
).fit(
    pl.DataFrame(
        {"stats__share": [100.0] * 2, "x": [200.0] * 2, "hour": [3.0, 3.0], "stats__kind": ["old", "new"]},
        schema={"stats__share": pl.Float32, "x": pl.Float32, "hour": pl.Float32, "stats__kind": pl.String},
    )
)


class Sum:
    """A runtime that adds up what it is given; `wrong` breaks its contract."""

    name = "sum"

    def __init__(self, wrong: Any = None) -> None:
        self.wrong = wrong

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        if self.wrong is not None:
            answer: NDArray[np.float32] = self.wrong
            return answer
        return batch.dense.sum(axis=1) + np.float32(1000) * batch.ids[:, 0].astype(np.float32)


def derive(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {"hour": (columns["due_us"] // 3_600_000_000 % 24).astype(np.float32)}


def make(**changes: Any) -> scorer.Scorer:
    values: dict[str, Any] = {
        "service": SERVICE,
        "request_columns": REQUEST,
        "program": FITTED.compile(),
        "runtime": Sum(),
        "derive": derive,
        "views": {"stats": VIEW.lazy()},
    }
    return scorer.Scorer(**(values | changes))


def asked(**changes: Any) -> pl.DataFrame:
    """UA before and after its second row, AA at its TTL and after it, nobody, a null key."""
    minutes = [10, 40, 60, 61, 10, 10]
    values: dict[str, Any] = {
        "carrier": ["UA", "UA", "AA", "AA", "ZZ", None],
        "x": pl.Series([1.0, 2.0, 3.0, 4.0, 5.0, None], dtype=pl.Float32),
        "due_us": [3_600_000_000 * h for h in (0, 1, 2, 3, 4, 5)],
        "as_of": pl.Series([START + timedelta(minutes=m) for m in minutes], dtype=UTC_US),
        "comment": ["kept"] * 6,
    }
    return pl.DataFrame(values | changes)


#: Ids: 0 missing, 1 unknown, then the vocabulary in its order: new, old.
EXPECTED = [
    1 + 1 + 0 + 3000,
    2 + 2 + 1 + 2000,
    8 + 3 + 2 + 3000,
    100 + 4 + 3,
    100 + 5 + 4,
    100 + 200 + 5,
]


def test_each_row_is_scored_as_of_its_own_time() -> None:
    scores = make().score(asked())
    assert scores.dtype == np.float32
    assert scores.tolist() == EXPECTED


def test_one_time_for_all_rows() -> None:
    at = START + timedelta(minutes=10)
    scores = make(as_of=at).score(asked().drop("as_of"))
    assert scores.tolist()[:4] == [3002, 3003 + 1, 8 + 3 + 2 + 3000, 8 + 4 + 3 + 3000]
    # The given time goes before the rows' own.
    assert make(as_of=at).score(asked()).tolist() == scores.tolist()


def test_times_of_other_units_and_zones_are_the_same_instants() -> None:
    naive = asked(as_of=asked()["as_of"].dt.replace_time_zone(None))
    zoned = asked(as_of=asked()["as_of"].dt.convert_time_zone("America/New_York").dt.cast_time_unit("ns"))
    assert make().score(naive).tolist() == make().score(zoned).tolist() == EXPECTED


def test_no_rows_have_no_scores() -> None:
    assert make().score(asked().clear()).shape == (0,)


def test_rows_alone_score_as_in_a_batch() -> None:
    rows = asked()
    assert [float(make().score(rows[i])[0]) for i in range(rows.height)] == EXPECTED


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"carrier": [1] * 6}, errors.SchemaMismatch, "column `carrier` of entity rows has type Int64"),
        (
            {"x": [1.0] * 6},
            errors.SchemaMismatch,
            "column `x` of entity rows has type Float64, expected Float32",
        ),
        ({"due_us": [None, *[1] * 5]}, errors.SchemaMismatch, "`due_us` has 1 nulls"),
        ({"as_of": ["now"] * 6}, errors.SchemaMismatch, "`as_of` of entity rows has type String"),
        (
            {"as_of": pl.Series([None] * 6, dtype=UTC_US)},
            errors.SchemaMismatch,
            "`as_of` of entity rows has 6 nulls",
        ),
        (
            {"x": pl.Series([float("inf")] * 6, dtype=pl.Float32)},
            errors.DataInvalid,
            r"`x\[0\]` is infinite",
        ),
    ],
)
def test_wrong_rows_are_named(
    change: dict[str, Any], error: type[errors.MainspringError], words: str
) -> None:
    with pytest.raises(error, match=words):
        make().score(asked(**change))


def test_a_policy_is_applied_before_anything_is_looked_up() -> None:
    declared = {
        "x": inputs.ColumnPolicy(low=2.0, high=4.0, out_of_range="clip"),
        "due_us": inputs.ColumnPolicy(low=0, high=3_600_000_000 * 3, out_of_range="clip"),
    }
    policy = inputs.InputPolicy(columns=declared, infinite="missing")
    infinite = [*asked()["x"].to_list()[:-1], float("inf")]
    rows = asked(x=pl.Series(infinite, dtype=pl.Float32))
    expected = [1 + 2 + 0 + 3000, 2 + 2 + 1 + 2000, 8 + 3 + 2 + 3000, 100 + 4 + 3, 100 + 4 + 3, 100 + 200 + 3]
    assert make(policy=policy).score(rows).tolist() == expected


@pytest.mark.parametrize(
    ("column", "policy", "words"),
    [
        (
            "x",
            inputs.ColumnPolicy(low=2, high=9, out_of_range="refuse"),
            r"`x\[0\]` is 1, training saw 2 to 9",
        ),
        ("x", inputs.ColumnPolicy(missing="refuse"), r"`x\[5\]` is missing, the model needs it"),
        ("carrier", inputs.ColumnPolicy(missing="refuse"), r"`carrier\[5\]` is missing"),
    ],
)
def test_what_a_policy_refuses_is_named(column: str, policy: inputs.ColumnPolicy, words: str) -> None:
    with pytest.raises(errors.DataInvalid, match=words):
        make(policy=inputs.InputPolicy(columns={column: policy})).score(asked())


def test_a_key_that_a_policy_changes_is_looked_up_changed() -> None:
    """As in serving: int64 keys are clipped before the look-up."""
    view = VIEW.with_columns(number=pl.Series([1, 1, 2])).drop("carrier")
    service = schema.FeatureService(
        name="by-number",
        views=(SERVICE.views[0].model_copy(update={"keys": (schema.Column(name="number", dtype="int64"),)}),),
    )
    rows = asked().with_columns(number=pl.Series([1, 1, 2, 2, 9, 9]))[:3]
    plain = make(service=service, views={"stats": view})
    policy = inputs.InputPolicy(columns={"number": inputs.ColumnPolicy(low=2, high=2, out_of_range="clip")})
    clipped = make(service=service, views={"stats": view}, policy=policy)
    assert plain.score(rows).tolist() == EXPECTED[:3]
    assert clipped.score(rows).tolist() == [8 + 1 + 0 + 3000, 8 + 2 + 1 + 3000, EXPECTED[2]]


def test_absent_columns_are_named() -> None:
    with pytest.raises(errors.SchemaMismatch, match="no column `x`"):
        make().score(asked().drop("x"))
    with pytest.raises(errors.SchemaMismatch, match="no column `as_of`"):
        make().score(asked().drop("as_of"))
    with pytest.raises(errors.SchemaMismatch, match="plan wants column `hour`"):
        make(derive=lambda _: {}).score(asked())
    with pytest.raises(errors.NotFound, match="view `stats`"):
        make(views={}).score(asked())


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(6), np.zeros(5, np.float32), np.full(6, np.nan, np.float32)],
    ids=["dtype", "rows", "nan"],
)
def test_a_model_that_breaks_its_contract_is_no_answer(wrong: NDArray[Any]) -> None:
    with pytest.raises(errors.InvariantViolated, match="expected finite float32"):
        make(runtime=Sum(wrong)).score(asked())


def test_a_dataset_is_judged_by_its_columns_first() -> None:
    columns = {"carrier": "string", "x": "float", "due_us": "int64", "as_of": "timestamp[us, tz=UTC]"}

    def check(found: dict[str, str], **how: Any) -> None:
        scorer.check_columns(found, SERVICE, REQUEST, **({"has_time": False, "score": "score"} | how))

    check(columns)
    check({k: v for k, v in columns.items() if k != "as_of"}, has_time=True)
    with pytest.raises(errors.SchemaMismatch, match="no column `as_of`"):
        check({k: v for k, v in columns.items() if k != "as_of"})
    with pytest.raises(errors.SchemaMismatch, match="no column `due_us`"):
        check({k: v for k, v in columns.items() if k != "due_us"})
    with pytest.raises(errors.InvalidRequest, match="has a column `score`"):
        check(columns | {"score": "float"})


def test_the_store_has_the_views_of_the_bundle() -> None:
    scorer.check_service(SERVICE, SERVICE)
    more = SERVICE.model_copy(
        update={"views": (*SERVICE.views, SERVICE.views[0].model_copy(update={"name": "b"}))}
    )
    scorer.check_service(SERVICE, more)
    with pytest.raises(errors.SchemaMismatch, match="view `b` is not what the bundle was made with"):
        scorer.check_service(more, SERVICE)
    other = SERVICE.model_copy(update={"views": (SERVICE.views[0].model_copy(update={"ttl_seconds": 7200}),)})
    with pytest.raises(errors.SchemaMismatch, match="view `stats`"):
        scorer.check_service(SERVICE, other)
