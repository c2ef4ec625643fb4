"""Parquet of a lake behind its suite: a bad batch leaves file or folder as it was, an approver may let it in."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mainspring.core import errors, identity
from mainspring.core.features import lake
from mainspring.core.quality import expectations as expect
from mainspring.core.quality import parquet

SUITE = expect.Suite(
    dataset="sales",
    expectations=(
        expect.Unique(columns=("id",)),
        expect.References(columns=("shop",), of="shops"),
        expect.Distribution(column="price", min_rows=20),
    ),
)
SHOPS = {"shops": pl.DataFrame({"shop": ["a", "b"]})}
APPROVER = identity.Actor("approver@local", ("approver",))


def sales(n: int = 40, *, shop: str = "a", price: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame({"id": range(n), "shop": [shop] * n, "price": [price + i % 10 for i in range(n)]})


@pytest.fixture(params=["file", "folder"])
def checked(request: pytest.FixtureRequest, tmp_path: Path) -> parquet.CheckedParquet:
    uri = str(tmp_path / "sales.parquet")
    if request.param == "folder":
        (tmp_path / "sales").mkdir()
        uri = f"{tmp_path}/sales/"
    return parquet.CheckedParquet(lake.Parquet(uri), SUITE, tmp_path / "quality")


def rows(checked: parquet.CheckedParquet) -> pl.DataFrame:
    return checked._target.scan().collect()


def test_a_good_batch_is_written_and_a_bad_one_leaves_what_was_there(checked: parquet.CheckedParquet) -> None:
    assert checked.write(sales(), SHOPS).rows == 40
    before = rows(checked)
    for bad, failed in (
        (pl.concat([sales(), sales(1)]), "sales: id is unique"),
        (sales(shop="z"), "sales: shop is in shops"),
        (sales(price=500.0), "sales: price is spread as before"),
        (sales().drop("id"), "sales: id is unique"),
    ):
        with pytest.raises(errors.DataInvalid) as caught:
            checked.write(bad, SHOPS)
        assert caught.value.failed == (failed,) and rows(checked).equals(before)
        held = checked.quarantine.data(caught.value.quarantined) / "rows.parquet"
        assert pl.read_parquet(held).equals(bad)
    assert len(checked.quarantine.names()) == 4
    checked.write(sales(30), SHOPS)


def test_an_approver_lets_a_batch_in_once(checked: parquet.CheckedParquet) -> None:
    checked.write(sales(), SHOPS)
    with pytest.raises(errors.DataInvalid) as caught:
        checked.write(sales(price=500.0), SHOPS)
    name = caught.value.quarantined
    with pytest.raises(errors.PermissionDenied):
        checked.release(name, actor=identity.Actor("d", ("developer",)), reason="x")
    first = checked.release(name, actor=APPROVER, reason="prices in cents")
    assert checked.release(name, actor=APPROVER, reason="again").release == first.release
    found = rows(checked)
    assert found.filter(pl.col("price") >= 500).height == 40
    assert found.height == (80 if checked._target.is_folder else 40)
    # From here on cents are what is normal.
    checked.write(sales(price=500.0), SHOPS)


def test_a_release_that_was_cut_off_writes_no_row_twice(
    checked: parquet.CheckedParquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.DataInvalid) as caught:
        checked.write(pl.concat([sales(5), sales(1)]), SHOPS)
    with monkeypatch.context() as patched:
        patched.setattr(type(checked.quarantine), "mark", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            checked.release(caught.value.quarantined, actor=APPROVER, reason="x")
    checked.release(caught.value.quarantined, actor=APPROVER, reason="x")
    assert rows(checked).height == 6


def test_a_file_that_was_written_later_is_not_replaced(tmp_path: Path) -> None:
    checked = parquet.CheckedParquet(
        lake.Parquet(str(tmp_path / "sales.parquet")), SUITE, tmp_path / "quality"
    )
    checked.write(sales(), SHOPS)
    with pytest.raises(errors.DataInvalid) as caught:
        checked.write(sales(price=500.0), SHOPS)
    checked.write(sales(3), SHOPS)  # too small to be a population, and a later batch all the same
    with pytest.raises(errors.Conflict, match="write it again"):
        checked.release(caught.value.quarantined, actor=APPROVER, reason="late")
    assert rows(checked).equals(sales(3))


def test_a_damaged_memory_of_the_last_batch_is_said_so(
    checked: parquet.CheckedParquet, tmp_path: Path
) -> None:
    checked.write(sales(), SHOPS)
    (tmp_path / "quality" / "sales" / "accepted.json").write_text("{")
    with pytest.raises(errors.CorruptArtifact, match="compared with nothing"):
        checked.write(sales(), SHOPS)
