"""Sealed columns: they open as they were, nowhere else, by no other key, and not at all once they were changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import errors, ports
from mainspring.core.features import folders, online
from mainspring.core.protection import keyring_file, keysets, sealing, tables

KEYS = {"0a0a0a0a": bytes(range(32)), "0b0b0b0b": bytes(range(32, 64))}
CIPHER = sealing.Cipher(KEYS, current="0a0a0a0a")
JOINED = sealing.Field("lake.intake", "patient", "joinable")
RANDOM = sealing.Field("lake.intake", "patient", "random")

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
COLUMNS: tuple[tuple[pl.DataType, st.SearchStrategy[Any]], ...] = (
    (pl.String(), TEXTS),
    (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    (pl.UInt8(), st.integers(0, 255)),
    (pl.Float64(), st.floats(allow_nan=True)),
    (pl.Float32(), st.floats(width=32, allow_nan=True)),
    (pl.Boolean(), st.booleans()),
    (pl.Binary(), st.binary(max_size=20)),
    (pl.Date(), st.dates(date(1, 1, 1))),
    (pl.Datetime("us", "UTC"), st.datetimes(datetime(1700, 1, 1), timezones=st.just(UTC))),
    (pl.Datetime("ms"), st.integers(-(10**9), 10**9).map(lambda s: datetime(1970, 1, 1) + timedelta(seconds=s))),
    (pl.Duration("us"), st.integers(-(10**12), 10**12).map(lambda us: timedelta(microseconds=us))),
)  # fmt: skip


@given(st.data(), st.sampled_from(COLUMNS), st.sampled_from([JOINED, RANDOM]))
def test_what_is_sealed_opens_as_it_was(
    data: st.DataObject, column: tuple[pl.DataType, st.SearchStrategy[Any]], field: sealing.Field
) -> None:
    dtype, values = column
    series = pl.Series("patient", data.draw(st.lists(st.none() | values, max_size=8)), dtype=dtype)
    sealed = CIPHER.seal(series, field)
    assert sealed.dtype == pl.String and sealed.null_count() == series.null_count()
    opened = CIPHER.open(sealed, field, dtype)
    assert opened.dtype == dtype and opened.equals(series, check_names=True, null_equal=True)


@given(st.lists(TEXTS, min_size=1, max_size=6, unique=True))
def test_equal_values_are_equal_only_where_they_are_to_be_joined(values: list[str]) -> None:
    twice = pl.Series("patient", values + values)
    joined, other = CIPHER.seal(twice, JOINED).to_list(), CIPHER.seal(twice, RANDOM).to_list()
    n = len(values)
    assert joined[:n] == joined[n:] and len(set(joined)) == n
    assert len(set(other)) == 2 * n
    assert not any(v and len(v) > 3 and v in s for v in values for s in joined + other)


def test_a_joinable_value_is_the_same_in_every_process_for_ever() -> None:
    """Of stored data: another derivation would join nothing, and open nothing."""
    assert CIPHER.seal(pl.Series(["ann"]), JOINED)[0] == "ms1.0a0a0a0a.j.caY9cRAjaTMcS18CoquHp1lL930"
    assert (
        CIPHER.open(pl.Series(["ms1.0a0a0a0a.r.YKytVC3ShTCeP4iaqHzM5rYdx99DO97y00UftzjugMw"]), RANDOM)[0]
        == "ann"
    )


OTHERS = (
    sealing.Field("lake.intake", "other", "joinable"),
    sealing.Field("lake.other", "patient", "joinable"),
    sealing.Field("lake.intake", "patient", "joinable", "person"),
    sealing.Field("lake.intake\0patient", "", "joinable"),
)


@pytest.mark.parametrize("other", [*OTHERS, RANDOM])
def test_a_value_does_not_open_in_another_place(other: sealing.Field) -> None:
    sealed = CIPHER.seal(pl.Series(["ann"]), JOINED)
    assert CIPHER.seal(pl.Series(["ann"]), other)[0] != sealed[0]
    with pytest.raises(errors.CorruptArtifact, match="does not open"):
        CIPHER.open(sealed, other)
    forged = pl.Series([sealed[0].replace(".j.", ".r.")])
    with pytest.raises(errors.CorruptArtifact):
        CIPHER.open(forged, RANDOM)


def test_columns_of_a_domain_are_joined_over_datasets() -> None:
    left = sealing.Field("lake.intake", "patient", "joinable", "person")
    right = sealing.Field("lake.bills", "payer", "joinable", "person")
    numbers = (
        CIPHER.seal(pl.Series([7], dtype=pl.Int32), left),
        CIPHER.seal(pl.Series([7], dtype=pl.Int64), right),
    )
    assert numbers[0][0] == numbers[1][0]  # whole numbers of any width are the same value
    assert CIPHER.seal(pl.Series(["7"]), right)[0] != numbers[0][0]


@given(st.sampled_from([JOINED, RANDOM]), st.integers(0, 200), st.integers(1, 63))
def test_whatever_is_changed_is_found(field: sealing.Field, at: int, by: int) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    head, _, body = CIPHER.seal(pl.Series(["some name"]), field)[0].rpartition(".")
    at %= len(body) - 1  # the last sign holds bits that are not read
    wrong = body[:at] + alphabet[(alphabet.index(body[at]) + by) % 64] + body[at + 1 :]
    for changed in (f"{head}.{wrong}", f"{head}.{body[:-3]}", f"{head}.A"):
        with pytest.raises(errors.CorruptArtifact):
            CIPHER.open(pl.Series([changed]), field)


@pytest.mark.parametrize("plain", ["ann", "", "ms1.", "ms1.0a0a0a0a.j.", "ms1.XX.j.AAAA", "tok_1"])
def test_what_is_not_sealed_does_not_pass_for_it(plain: str) -> None:
    with pytest.raises(errors.CorruptArtifact) as caught:
        CIPHER.open(pl.Series([plain]), JOINED)
    assert caught.value.got == "another form"
    assert not sealing.is_sealed(pl.Series([plain]))


def test_another_key_and_no_key_are_told_apart() -> None:
    sealed = CIPHER.seal(pl.Series(["ann"]), JOINED)
    wrong = sealing.Cipher({"0a0a0a0a": bytes(32)}, current="0a0a0a0a")
    with pytest.raises(errors.CorruptArtifact, match="does not open"):
        wrong.open(sealed, JOINED)
    without = sealing.Cipher({"0b0b0b0b": bytes(32)}, current="0b0b0b0b")
    with pytest.raises(errors.Misconfigured, match="no data key `0a0a0a0a`"):
        without.open(sealed, JOINED)
    with pytest.raises(errors.CorruptArtifact, match="has 3 bytes"):
        sealing.Cipher({"x": b"abc"}, current="x")


def test_a_value_of_another_type_and_a_type_that_is_not_sealed_are_refused() -> None:
    sealed = CIPHER.seal(pl.Series([7]), JOINED)
    with pytest.raises(errors.CorruptArtifact, match="does not open"):
        CIPHER.open(sealed, JOINED, pl.String())
    with pytest.raises(errors.SchemaMismatch, match="a sealed one is text"):
        CIPHER.open(pl.Series([7]), JOINED)
    for values in ([[1]], [{"a": 1}], [datetime(2026, 1, 1)]):
        series = pl.Series("patient", values)
        series = series.cast(pl.Datetime("ns")) if series.dtype == pl.Datetime else series
        with pytest.raises(errors.SchemaMismatch, match="is not sealed"):
            CIPHER.seal(series, JOINED)


def test_a_lookup_knows_every_key_while_one_is_brought_over() -> None:
    old = CIPHER.seal(pl.Series(["ann"]), JOINED)[0]
    newer = sealing.Cipher(KEYS, current="0b0b0b0b")
    new = newer.seal(pl.Series(["ann"]), JOINED)[0]
    assert newer.tokens("ann", JOINED) == (new, old) and new != old
    assert newer.open(pl.Series([old, new]), JOINED).to_list() == ["ann", "ann"]
    with pytest.raises(errors.InvalidRequest, match="cannot be looked up"):
        newer.tokens("ann", RANDOM)


# Data keys: rings of keys, and what is kept of them.


@pytest.fixture
def ring(tmp_path: Path) -> keyring_file.FileKeyRing:
    return keyring_file.FileKeyRing(tmp_path / "keys" / "ring.keys")


def test_a_keyset_is_made_once_and_opens_in_every_process(tmp_path: Path, ring: ports.KeyRing) -> None:
    one, other = (keysets.Keyset(tmp_path / "k" / "keyset.json", "hospital", ring) for _ in range(2))
    sealed = one.cipher().seal(pl.Series(["ann"]), JOINED)
    assert other.cipher().open(sealed, JOINED)[0] == "ann" and one.keys() == other.keys()
    stored = (tmp_path / "k" / "keyset.json").read_text() + (tmp_path / "keys" / "ring.keys").read_text()
    data_key = one.cipher()._keys[one.cipher().current]
    assert data_key.hex() not in stored and "ann" not in stored
    for path in (tmp_path / "k" / "keyset.json", tmp_path / "keys" / "ring.keys"):
        assert path.stat().st_mode & 0o077 == 0


def test_the_ring_is_rotated_while_readers_go_on(tmp_path: Path, ring: ports.KeyRing) -> None:
    kept = keysets.Keyset(tmp_path / "k" / "keyset.json", "hospital", ring)
    sealed = kept.cipher().seal(pl.Series(["ann"]), JOINED)
    before = kept.keys()[0].wrapped
    version = ring.rotate()
    fresh = keysets.Keyset(tmp_path / "k" / "keyset.json", "hospital", ring)
    assert fresh.cipher().open(sealed, JOINED)[0] == "ann"  # wrapped by the old version
    assert (kept.rewrap(), kept.rewrap()) == (1, 0)
    assert kept.keys()[0].wrapped != before and f":{version}:" in kept.keys()[0].wrapped
    again = keysets.Keyset(tmp_path / "k" / "keyset.json", "hospital", ring)
    assert again.cipher().open(sealed, JOINED)[0] == "ann"
    assert again.cipher().seal(pl.Series(["ann"]), JOINED)[0] == sealed[0]  # no sealed value changes


def test_a_new_data_key_seals_and_a_forgotten_one_opens_nothing(tmp_path: Path, ring: ports.KeyRing) -> None:
    kept = keysets.Keyset(tmp_path / "k" / "keyset.json", "hospital", ring)
    old = kept.cipher()
    sealed = old.seal(pl.Series(["ann"]), JOINED)
    new = kept.add()
    assert kept.cipher().current == new and kept.cipher().open(sealed, JOINED)[0] == "ann"
    with pytest.raises(errors.Conflict, match="is the one that seals"):
        kept.forget(new)
    with pytest.raises(errors.NotFound):
        kept.forget("ffffffff")
    kept.forget(old.current)
    with pytest.raises(errors.Misconfigured, match="so is what it sealed"):
        kept.cipher().open(sealed, JOINED)


def test_a_wrapped_key_is_of_its_keyset_and_its_ring(tmp_path: Path, ring: ports.KeyRing) -> None:
    wrapped = ring.wrap(b"k" * 32, "one")
    assert ring.unwrap(wrapped, "one") == b"k" * 32
    other = keyring_file.FileKeyRing(tmp_path / "other" / "ring.keys")
    head, _, body = wrapped.rpartition(":")
    for bad in (
        f"{head}:{'A' if body[20] != 'A' else 'B'}{body[1:]}",
        "file:x",
        "openbao:vault:v1:abc",
        f"{head}:",
    ):
        with pytest.raises(errors.CorruptArtifact):
            ring.unwrap(bad, "one")
    with pytest.raises(errors.CorruptArtifact):
        ring.unwrap(wrapped, "two")
    with pytest.raises(errors.Misconfigured, match="no key"):
        other.unwrap(wrapped, "one")
    # A keyset that was renamed for another project's does not open there.
    kept = keysets.Keyset(tmp_path / "k" / "keyset.json", "hospital", ring)
    kept.cipher()
    with pytest.raises(errors.CorruptArtifact):
        keysets.Keyset(tmp_path / "k" / "keyset.json", "school", ring).cipher()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "has no key"), (b"a zz\n", "line 1"), (b"a " + b"0" * 64 + b"\na " + b"1" * 64, "line 2")],
)
def test_a_bad_ring_is_refused_without_its_lines(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "ring.keys"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(errors.Misconfigured, match=said) as caught:
        keyring_file.FileKeyRing(path)
    assert "zz" not in caught.value.message and "0000" not in caught.value.message
    path.chmod(0o644)
    with pytest.raises(errors.Misconfigured, match="chmod 600"):
        keyring_file.FileKeyRing(path)


@pytest.mark.parametrize(
    "content", [b"{", b'{"version":2,"keys":[]}', b'{"version":1,"keys":[]}', b'{"version":1}']
)
def test_a_bad_keyset_is_refused(tmp_path: Path, ring: ports.KeyRing, content: bytes) -> None:
    path = tmp_path / "keyset.json"
    path.write_bytes(content)
    with pytest.raises(errors.Misconfigured, match="keyset.json"):
        keysets.Keyset(path, "hospital", ring)


# Tables.

SCHEME = tables.Scheme.parse(
    {
        "dataset": "lake.intake",
        "columns": {"patient": {"mode": "joinable", "domain": "person"}, "born": {}, "weight": {}},
    }
)
ROWS = pl.DataFrame(
    {
        "patient": ["ann", "bob", None, "ann"],
        "born": pl.Series([date(1980, 1, 2), None, date(1990, 3, 4), date(1980, 1, 2)]),
        "weight": pl.Series([61.5, math.nan, None, 70.25], dtype=pl.Float32),
        "ward": [1, 2, 3, 1],
    }
)


def test_a_file_opens_by_itself_and_holds_nothing_plain(tmp_path: Path) -> None:
    path = tmp_path / "intake.parquet"
    tables.write(ROWS, path, SCHEME, CIPHER)
    assert tables.read(path, CIPHER).equals(ROWS, null_equal=True)
    assert tables.read(path, CIPHER, ["ward", "born"]).equals(ROWS.select("ward", "born"))
    plain = pl.read_parquet(path)
    assert plain["ward"].to_list() == [1, 2, 3, 1]
    assert (
        all(sealing.is_sealed(plain[c]) for c in SCHEME.columns)
        and plain["patient"][0] == plain["patient"][3]
    )
    assert b"ann" not in path.read_bytes() and list(tmp_path.iterdir()) == [path]
    assert tables.read(path, None)["patient"].to_list() == plain["patient"].to_list()
    ROWS.write_parquet(tmp_path / "plain.parquet")
    assert tables.read(tmp_path / "plain.parquet", CIPHER).equals(ROWS, null_equal=True)


def test_arrow_goes_in_and_comes_out() -> None:
    table = ROWS.to_arrow().replace_schema_metadata({"a": "b"})
    sealed = tables.seal_arrow(table, SCHEME, CIPHER)
    assert isinstance(sealed, pa.Table) and "ann" not in str(sealed.to_pydict())
    back = tables.open_arrow(sealed, CIPHER)
    assert pl.DataFrame(pl.from_arrow(back)).equals(ROWS, null_equal=True) and back.schema.metadata == {
        b"a": b"b"
    }
    assert tables.open_arrow(table, CIPHER) is table


def test_joins_over_sealed_keys_are_those_over_plain_ones() -> None:
    bills = pl.DataFrame({"payer": ["bob", "ann", "eve"], "sum": [5, 7, 9]})
    scheme = tables.Scheme.parse(
        {"dataset": "lake.bills", "columns": {"payer": {"mode": "joinable", "domain": "person"}}}
    )
    left, right = tables.seal_frame(ROWS, SCHEME, CIPHER), tables.seal_frame(bills, scheme, CIPHER)
    joined = left.join(right, left_on="patient", right_on="payer", maintain_order="left")
    assert joined["sum"].to_list() == [7, 5, 7]


def test_a_lake_is_brought_over_and_the_old_key_can_be_forgotten(tmp_path: Path) -> None:
    for part in ("a", "b/c"):
        (tmp_path / part).mkdir(parents=True)
        tables.write(ROWS, tmp_path / part / "x.parquet", SCHEME, CIPHER)
    ROWS.write_parquet(tmp_path / "plain.parquet")
    newer = sealing.Cipher(KEYS, current="0b0b0b0b")
    (tmp_path / "a" / "x.parquet.new").write_bytes(b"of a process that was killed")
    done = tables.reseal(tmp_path, newer)
    assert (done.files, done.untouched, done.values, done.key_ids) == (2, 1, 2 * (3 + 3 + 3), {"0b0b0b0b"})
    again = tables.reseal(tmp_path, newer)
    assert (again.files, again.untouched, again.key_ids) == (0, 3, {"0b0b0b0b"})
    only_new = sealing.Cipher({"0b0b0b0b": KEYS["0b0b0b0b"]}, current="0b0b0b0b")
    assert tables.read(tmp_path / "b" / "c" / "x.parquet", only_new).equals(ROWS, null_equal=True)


def test_stopped_in_the_middle_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        tables.write(ROWS, tmp_path / f"{i}.parquet", SCHEME, CIPHER)
    newer = sealing.Cipher(KEYS, current="0b0b0b0b")
    (tmp_path / "1.parquet").rename(tmp_path / "1.kept")
    (tmp_path / "1.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(errors.CorruptArtifact, match="1.parquet"):
        tables.reseal(tmp_path, newer)
    for i in (0, 2):  # the first is over, the last is not, and both open
        assert tables.read(tmp_path / f"{i}.parquet", newer).equals(ROWS, null_equal=True)
    (tmp_path / "1.kept").rename(tmp_path / "1.parquet")
    assert tables.reseal(tmp_path, newer).files == 2


def test_a_published_folder_is_not_changed_under_its_digests(tmp_path: Path) -> None:
    def fill(new: Path) -> dict[str, Any]:
        tables.write(ROWS, new / "x.parquet", SCHEME, CIPHER)
        return {}

    folders.publish(tmp_path / "lake", kind="lake", inputs={}, write=fill)
    with pytest.raises(errors.Conflict, match="make it again"):
        tables.reseal(tmp_path, CIPHER)
    assert folders.read(tmp_path / "lake", kind="lake").path == tmp_path / "lake"


def _twice(path: Path) -> None:
    tables.write(tables.seal_frame(ROWS, SCHEME, CIPHER), path, SCHEME, CIPHER)


def _absent(path: Path) -> None:
    tables.write(ROWS.drop("born"), path, SCHEME, CIPHER)


@pytest.mark.parametrize(("act", "error"), [(_twice, errors.Conflict), (_absent, errors.SchemaMismatch)])
def test_what_cannot_be_sealed_leaves_no_file(
    tmp_path: Path, act: Callable[[Path], None], error: type[errors.MainspringError]
) -> None:
    with pytest.raises(error):
        act(tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "document",
    [
        {}, {"dataset": "x", "columns": {}}, {"dataset": "", "columns": {"a": {}}}, {"dataset": "x", "columns": {"a": {"mode": "rot13"}}},
        {"dataset": "x", "columns": {"a": {"domain": "person"}}}, {"dataset": "x", "columns": {"a": {"key": "x"}}},
    ],
)  # fmt: skip
def test_a_bad_scheme_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest):
        tables.Scheme.parse(document)


def test_a_file_that_lies_about_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for told in ("{", '{"version":9}', '{"version":1,"scheme":{},"types":{}}'):
        ROWS.write_parquet(path, metadata={"mainspring.sealed": told})
        with pytest.raises(errors.CorruptArtifact, match="sealed columns cannot be read"):
            tables.read(path, CIPHER)
    with pytest.raises(errors.NotFound):
        tables.read(tmp_path / "none.parquet", CIPHER)


def test_online_rows_are_sealed_keys_and_values(tmp_path: Path) -> None:
    view = ports.ViewSchema("intake", ("patient",), (("born", "string"), ("ward", "int64")), None)
    now = np.array([1], dtype=np.int64)
    key = CIPHER.seal(pl.Series("patient", ["ann"]), SCHEME.field("patient"))[0]
    born = CIPHER.seal(pl.Series("born", [date(1980, 1, 2)]), SCHEME.field("born"))[0]
    with online.OnlineStore(tmp_path / "online") as store:
        store.register(view)
        store.upsert(
            "intake", {"patient": [key]}, event_us=now, created_us=now, columns={"born": [born], "ward": [3]}
        )
        newer = sealing.Cipher(KEYS, current="0b0b0b0b")
        asked = newer.tokens("ann", SCHEME.field("patient"))
        rows = store.read("intake", {"patient": list(asked)}, now_us=2)
    found = [i for i, status in enumerate(rows.status) if status == ports.FeatureStatus.PRESENT]
    assert len(found) == 1  # by the old key's token
    value = pl.Series("born", [str(rows.values["born"][found[0]])])
    assert newer.open(value, SCHEME.field("born"), pl.Date())[0] == date(1980, 1, 2)
    stored = b"".join(p.read_bytes() for p in (tmp_path / "online").rglob("*") if p.is_file())
    assert b"ann" not in stored and key.encode() in stored
