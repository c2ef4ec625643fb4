"""A plan is declared, fitted, named, stored and compiled; what cannot be told truthfully is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import polars as pl
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.core import canonical, errors
from mainspring.core.features import ops, plan, program, schema
from mainspring.native import reference

DECLARED = plan.TransformPlan(
    name="demo",
    columns=(
        plan.dense(
            "delay", ops.Impute(method="mean"), ops.Clip(upper=100.0), ops.Standardise(), ops.Indicator()
        ),
        plan.dense("count", ops.Impute(method="constant", value=0.0), ops.Log1p(), ops.Standardise()),
        plan.dense("raw", ops.Impute(method="constant", value=-1.0)),
        plan.vocabulary("carrier", min_count=2),
        plan.vocabulary("hour", dtype="int64"),
    ),
)


def frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "delay": [10.0, None, 30.0, float("nan"), 500.0, -20.0],
            "count": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "raw": [1.0, 2.0, None, 4.0, 5.0, 6.0],
            "carrier": ["UA", "AA", "UA", "AA", "ZZ", None],
            "hour": [5, 6, 7, 5, 5, 23],
        },
        schema={
            "delay": pl.Float32,
            "count": pl.Float32,
            "raw": pl.Float32,
            "carrier": pl.String,
            "hour": pl.Int64,
        },
    )


def columns() -> dict[str, NDArray[Any]]:
    return {
        "delay": np.array([np.nan, 10.0, 1e6], np.float32),
        "count": np.array([3.0, np.nan, -2.0], np.float32),
        "raw": np.array([0.5, np.nan, np.inf], np.float32),
        "carrier": np.array(["AA", None, "ZZ"], object),
        "hour": np.array([23, 4, 5], np.int64),
    }


def test_dense_output_equals_the_reference_on_the_fitted_numbers() -> None:
    fitted = DECLARED.fit(frame())
    compiled = fitted.compile()
    got = compiled.run(columns()).dense
    order = ["delay", "count", "raw"]
    want = reference.dense_transform(
        [columns()[name] for name in order],
        source=[order.index(o.source) for o in fitted.dense],
        indicator=[o.indicator for o in fitted.dense],
        fill=[o.fill for o in fitted.dense],
        lower=[-np.inf if o.lower is None else o.lower for o in fitted.dense],
        upper=[np.inf if o.upper is None else o.upper for o in fitted.dense],
        log1p=[o.log1p for o in fitted.dense],
        mean=[o.mean for o in fitted.dense],
        scale=[o.scale for o in fitted.dense],
    )
    assert compiled.dense_names == ("delay", "delay__missing", "count", "raw")
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=3e-6)
    assert got.dtype == np.float32 and got.flags.c_contiguous
    assert got[:, 1].tolist() == [1.0, 0.0, 0.0]
    assert got[1, 3] == -1.0  # passed through, filled, not scaled


def test_fitted_numbers_come_from_the_present_values() -> None:
    delay, _, count, raw = DECLARED.fit(frame()).dense
    present = np.array([10.0, 30.0, 500.0, -20.0])
    assert delay.fill == np.float32(present.mean())
    y = np.array([10.0, 130.0, 30.0, 130.0, 500.0, -20.0]).clip(None, 100.0)
    assert (delay.lower, delay.upper) == (None, 100.0)
    assert delay.mean == pytest.approx(y.mean()) and delay.scale == pytest.approx(y.std())
    assert count.mean == pytest.approx(np.log1p(np.arange(6.0)).mean())
    assert (raw.fill, raw.mean, raw.scale) == (-1.0, 0.0, 1.0)


def test_the_training_matrix_is_standardised() -> None:
    compiled = DECLARED.fit(frame()).compile()
    rows = frame()
    matrix = compiled.run(
        {
            **{n: rows[n].fill_null(float("nan")).to_numpy() for n in ("delay", "count", "raw")},
            "carrier": np.array(rows["carrier"].to_list(), object),
            "hour": rows["hour"].to_numpy(),
        }
    ).dense
    np.testing.assert_allclose(matrix[:, [0, 2]].mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(matrix[:, [0, 2]].std(axis=0), 1.0, atol=1e-6)


def test_ids_are_missing_unknown_then_values_in_order() -> None:
    fitted = DECLARED.fit(frame())
    compiled = fitted.compile()
    assert fitted.ids[0].values == ("AA", "UA")  # ZZ was rarer than min_count
    assert compiled.id_names == ("carrier", "hour")
    assert compiled.id_sizes == (4, 6)
    assert compiled.run(columns()).ids.tolist() == [[2, 5], [0, 1], [1, 2]]
    assert compiled.run(columns()).ids.dtype == np.int32


@pytest.mark.parametrize("text", [np.array(["AA", "", "x"]), np.array(["AA", float("nan"), "x"], object)])
def test_other_spellings_of_strings_and_of_missing(text: NDArray[Any]) -> None:
    ids = DECLARED.fit(frame()).compile().run({**columns(), "carrier": text}).ids
    assert ids[:, 0].tolist() == [2, 0, 1]


def test_most_frequent_values_are_kept_and_ties_go_to_the_smaller() -> None:
    declared = plan.TransformPlan(name="p", columns=(plan.vocabulary("k", max_values=2),))
    fitted = declared.fit(pl.DataFrame({"k": ["c", "c", "b", "a", "", None]}))
    assert fitted.ids[0].values == ("a", "c")


WORDS = st.none() | st.sampled_from(["", "a", "b", "é", "x" * 40]) | st.text(max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, st.integers(-3, 3)), min_size=1, max_size=30), st.lists(WORDS, max_size=30))
def test_ids_are_those_of_a_dict(fitted: list[tuple[str | None, int]], asked: list[str | None]) -> None:
    """Of strings and integers: 0 missing, 1 unknown, then the kept values in order, whatever was asked."""
    declared = plan.TransformPlan(
        name="p", columns=(plan.vocabulary("c"), plan.vocabulary("u", dtype="int64", max_values=3))
    )
    frame = pl.DataFrame({"c": [c for c, _ in fitted] + ["a"], "u": [u for _, u in fitted] + [0]})
    made = declared.fit(frame.cast({"c": pl.String, "u": pl.Int64}))
    u = np.arange(len(asked)) % 9 - 4
    ids = made.compile().run({"c": np.array(asked, np.object_), "u": u}).ids
    for j, column in enumerate((asked, u.tolist())):
        known: dict[Any, int] = {v: i + ops.FIRST_VALUE_ID for i, v in enumerate(made.ids[j].values)}
        want = [ops.MISSING_ID if v in (None, "") else known.get(v, ops.UNKNOWN_ID) for v in column]
        assert ids[:, j].tolist() == want
    assert ids.flags.c_contiguous and ids.dtype == np.int32


def test_text_that_is_no_unicode_is_refused_by_name() -> None:
    made = plan.TransformPlan(name="p", columns=(plan.vocabulary("c"),)).fit(pl.DataFrame({"c": ["a"]}))
    with pytest.raises(errors.SchemaMismatch, match="valid Unicode"):
        made.compile().run({"c": np.array(["\ud800"], np.object_)})


def test_no_rows_give_no_rows() -> None:
    compiled = DECLARED.fit(frame()).compile()
    result = compiled.run({n: a[:0] for n, a in columns().items()})
    assert result.dense.shape == (0, 4) and result.ids.shape == (0, 2)


def test_a_plan_of_ids_only_and_one_of_dense_only() -> None:
    only_ids = plan.TransformPlan(name="p", columns=(plan.vocabulary("carrier"),)).fit(frame()).compile()
    assert only_ids.run(columns()).dense.shape == (3, 0)
    only_dense = (
        plan.TransformPlan(name="p", columns=(plan.dense("raw", ops.Impute()),)).fit(frame()).compile()
    )
    assert only_dense.run(columns()).ids.shape == (3, 0)


def test_a_row_alone_has_the_bits_it_has_in_a_batch() -> None:
    compiled = DECLARED.fit(frame()).compile()
    together = compiled.run(columns())
    for i in range(3):
        alone = compiled.run({n: a[i : i + 1] for n, a in columns().items()})
        assert alone.dense.tobytes() == together.dense[i : i + 1].tobytes()
        assert alone.ids.tobytes() == together.ids[i : i + 1].tobytes()


def test_the_digest_names_the_numbers_and_survives_the_road() -> None:
    fitted = DECLARED.fit(frame())
    data = fitted.to_bytes()
    again = plan.FittedPlan.from_bytes(data)
    assert again == fitted and again.digest == fitted.digest == canonical.digest_bytes(data)
    other = DECLARED.fit(frame().with_columns(pl.col("raw") * 2, pl.col("count") + 1))
    assert other.digest != fitted.digest
    a, b = fitted.compile().run(columns()), again.compile().run(columns())
    assert a.dense.tobytes() == b.dense.tobytes() and a.ids.tobytes() == b.ids.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)))
def test_row_order_does_not_change_vocabularies_fills_or_bounds(order: list[int]) -> None:
    shuffled = DECLARED.fit(frame()[order])
    fitted = DECLARED.fit(frame())
    assert shuffled.ids == fitted.ids
    for a, b in zip(shuffled.dense, fitted.dense, strict=True):
        assert (a.fill, a.lower, a.upper) == (b.fill, b.lower, b.upper)
        assert a.mean == pytest.approx(b.mean, abs=1e-12) and a.scale == pytest.approx(b.scale)


def test_a_lazy_frame_fits_to_the_same_plan() -> None:
    assert DECLARED.fit(frame().lazy()).digest == DECLARED.fit(frame()).digest


def test_quantile_bounds_are_values_of_the_column() -> None:
    column = plan.dense("x", ops.Impute(), ops.Clip(lower_quantile=0.1, upper_quantile=0.9))
    values = pl.DataFrame({"x": [float(i) for i in range(11)] + [None]}, schema={"x": pl.Float32})
    output = plan.TransformPlan(name="p", columns=(column,)).fit(values).dense[0]
    assert (output.lower, output.upper, output.fill) == (1.0, 9.0, 5.0)


@pytest.mark.parametrize("value", [7.0, 0.1, 1e30])
def test_a_constant_column_is_centred_and_not_blown_up(value: float) -> None:
    column = plan.dense("x", ops.Impute(), ops.Standardise())
    values = pl.DataFrame({"x": [value] * 50}, schema={"x": pl.Float32})
    compiled = plan.TransformPlan(name="p", columns=(column,)).fit(values).compile()
    assert compiled.run({"x": np.array([value], np.float32)}).dense[0, 0] == pytest.approx(0.0, abs=1e-6)


def test_threads_share_a_program() -> None:
    compiled = DECLARED.fit(frame()).compile()
    want = compiled.run(columns())
    wrong: list[int] = []

    def work() -> None:
        for _ in range(200):
            got = compiled.run(columns())
            if got.dense.tobytes() != want.dense.tobytes() or got.ids.tobytes() != want.ids.tobytes():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("name", "value", "got"),
    [
        ("delay", None, "no column"),
        ("delay", np.zeros(3, np.float64), "type float64"),
        ("delay", np.zeros(3, np.int64), "type int64"),
        ("delay", np.zeros((3, 1), np.float32), "2 dimensions"),
        ("count", np.zeros(2, np.float32), "2 rows beside 3"),
        ("hour", np.zeros(3, np.int32), "type int32"),
        ("carrier", np.zeros(3, np.int64), "type int64"),
        ("carrier", np.array(["AA", 7, None], object), "values of type int"),
        ("carrier", np.array(["AA", [1], None], object), "values of type list"),
        ("carrier", np.array(["AA", 1.5, None], object), "values of type float"),
    ],
)
def test_a_wrong_column_is_named_with_the_next_step(name: str, value: NDArray[Any] | None, got: str) -> None:
    given_columns = columns()
    if value is None:
        del given_columns[name]
    else:
        given_columns[name] = value
    with pytest.raises(errors.SchemaMismatch) as caught:
        DECLARED.fit(frame()).compile().run(given_columns)
    assert caught.value.feature == name and caught.value.got == got
    assert f"`{name}`" in str(caught.value) and "; " in str(caught.value)


def test_fitting_refuses_what_it_cannot_learn_from() -> None:
    with pytest.raises(errors.SchemaMismatch, match="did you mean `cuont`"):
        DECLARED.fit(frame().rename({"count": "cuont"}))
    with pytest.raises(errors.SchemaMismatch, match="Float64"):
        DECLARED.fit(frame().with_columns(pl.col("delay").cast(pl.Float64)))
    with pytest.raises(errors.DataInvalid, match="0 rows"):
        DECLARED.fit(frame().head(0))
    with pytest.raises(errors.DataInvalid, match="`delay` has no value"):
        DECLARED.fit(frame().with_columns(delay=pl.lit(None, pl.Float32)))
    with pytest.raises(errors.DataInvalid, match="`raw` holds an infinite value"):
        DECLARED.fit(frame().with_columns(raw=pl.lit(float("inf"), pl.Float32)))
    with pytest.raises(errors.DataInvalid, match="`carrier` has no value with 2 rows"):
        DECLARED.fit(frame().with_columns(carrier=pl.lit("")))
    tight = plan.dense("raw", ops.Impute(), ops.Clip(lower=100.0, upper_quantile=0.5))
    with pytest.raises(errors.DataInvalid, match=r"clipped to \[100"):
        plan.TransformPlan(name="p", columns=(tight,)).fit(frame())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plan.dense("x"), "add an impute op"),
        (lambda: plan.dense("x", ops.Standardise(), ops.Impute()), "the kernel runs them as"),
        (lambda: plan.dense("x", ops.Impute(), ops.Impute()), "an op twice"),
        (lambda: ops.Impute(method="constant"), "do not go together"),
        (lambda: ops.Impute(method="mean", value=1.0), "do not go together"),
        (lambda: ops.Impute(method="constant", value=float("nan")), "finite number"),
        (lambda: ops.Clip(), "no bound"),
        (lambda: ops.Clip(lower=2.0, upper=1.0), "above its upper"),
        (lambda: ops.Clip(lower=2.0, lower_quantile=0.1), "give one"),
        (lambda: plan.TransformPlan(name="p", columns=(plan.vocabulary("x"), plan.vocabulary("x"))), "twice"),
        (lambda: plan.TransformPlan(name="p", columns=()), "at least 1"),
        (
            lambda: plan.PlanColumn(input=schema.Column(name="x", dtype="float64"), ops=(ops.Impute(),)),
            "dense ops want float32",
        ),
        (
            lambda: plan.PlanColumn(input=schema.Column(name="x", dtype="float32"), ops=(ops.Vocabulary(),)),
            "wants string or int64",
        ),
        (
            lambda: plan.PlanColumn(
                input=schema.Column(name="x", dtype="string"), ops=(ops.Vocabulary(), ops.Indicator())
            ),
            "it goes alone",
        ),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(make: Any, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        make()


def test_reading_a_plan_refuses_what_is_not_one() -> None:
    good = DECLARED.fit(frame())
    value = json.loads(good.to_bytes())
    with pytest.raises(errors.CorruptArtifact, match="not JSON"):
        plan.FittedPlan.from_bytes(b"\x00\x01")
    with pytest.raises(errors.SchemaMismatch, match="schema version `2`"):
        plan.FittedPlan.from_bytes(canonical.dumps({**value, "schema_version": 2}))
    with pytest.raises(errors.SchemaMismatch, match="schema version `None`"):
        plan.FittedPlan.from_bytes(b"[]")
    with pytest.raises(errors.CorruptArtifact, match=r"dense\.0\.scale"):
        dense = [{**value["dense"][0], "scale": 0.0}, *value["dense"][1:]]
        plan.FittedPlan.from_bytes(canonical.dumps({**value, "dense": dense}))
    with pytest.raises(errors.CorruptArtifact, match="does not declare"):
        ids = [{**value["ids"][0], "source": "tailnum"}, *value["ids"][1:]]
        plan.FittedPlan.from_bytes(canonical.dumps({**value, "ids": ids}))
    with pytest.raises(errors.CorruptArtifact, match="canonical form"):
        plan.FittedPlan.from_bytes(json.dumps(value, indent=1).encode())
    with pytest.raises(errors.CorruptArtifact):
        plan.FittedPlan.from_bytes(canonical.dumps({**value, "note": "x"}))


def test_serving_loads_a_plan_without_polars_or_feast() -> None:
    code = (
        "import sys; from mainspring.core.features import online, plan; "
        "bad = {'polars', 'feast', 'pandas', 'torch', 'duckdb'} & set(sys.modules); sys.exit(f'loaded {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_all_is_what_others_may_use() -> None:
    assert program.__all__ == ["Program"]
    assert plan.__all__ == [
        "SCHEMA_VERSION",
        "FittedPlan",
        "PlanColumn",
        "TransformPlan",
        "dense",
        "vocabulary",
    ]
