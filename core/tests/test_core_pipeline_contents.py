"""What pipelines made goes by its age, and never what a run under way, a young one or a held one refers to."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mainspring.core import retention
from mainspring.core.contracts import pipelines
from mainspring.core.contracts.retention import KeptKind, LegalHold
from mainspring.core.pipelines import cache, contents
from mainspring.core.pipelines.store import PipelineStore

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = {KeptKind.PIPELINE_CONTENTS: 30.0}


@pytest.fixture
def store(tmp_path: Path) -> PipelineStore:
    return PipelineStore(tmp_path / "pipelines")


def age(path: Path, days: float) -> None:
    at = (NOW - days * DAY).timestamp()
    for one in (path, *path.rglob("*")):
        os.utime(one, (at, at))


def made(store: PipelineStore, run_id: str, step: str, content: bytes, days: float) -> cache.Made:
    """A run that did one step, so many days ago."""
    digest = store.put_bytes(content)
    value = pipelines.Value.of_items(
        [pipelines.Value(kind=pipelines.ValueKind.JSON, digest=digest, bytes=len(content))]
    )
    by = cache.Made(function=f"nightly:{step}", code={}, inputs={}, environment="sha256:0")
    cache.keep(store, by, value, place=f"nightly/{step}", run_id=run_id, at=NOW, is_cached=True)
    for path in (store.run(run_id), store.open(digest), store.root / "cache" / by.key[:2] / f"{by.key}.json"):
        age(path, days)
    return by


def sort(
    store: PipelineStore, under_way: Collection[str] = (), holds: Sequence[LegalHold] = ()
) -> retention.Sorted:
    return contents.sort(store, DAYS, holds, under_way=under_way, now=NOW)


def remove(store: PipelineStore, under_way: Collection[str] = ()) -> list[int]:
    return [retention.remove(item) for item in sort(store, under_way).old]


def test_an_old_run_goes_with_its_answer_and_its_content(store: PipelineStore) -> None:
    old, young = (
        made(store, "run_old", "load", b"old", 31),
        made(store, "run_young", "split", b"young", 29),
    )
    assert [item.path.parent.name for item in sort(store).old][:1] == ["runs"], "runs go before contents"
    assert len(remove(store)) == 3
    assert not store.run("run_old").exists() and store.run("run_young").exists()
    gone = cache.find(store, old, place="nightly/load")
    assert gone.value is None and gone.why == "what it made is not kept any more"
    assert cache.find(store, young, place="nightly/split").value is not None
    assert remove(store) == [], "again finds nothing"


def test_a_run_that_waits_for_somebody_keeps_all_that_it_refers_to(store: PipelineStore) -> None:
    waits = made(store, "run_waits", "load", b"big", 400)
    found = sort(store, under_way=["run_waits"])
    assert found.old == () and [item.path.name for item in found.kept] == ["run_waits"]
    assert cache.find(store, waits, place="nightly/load").value is not None


def test_what_a_young_run_took_from_the_cache_stays_however_old_it_is(store: PipelineStore) -> None:
    old = made(store, "run_old", "load", b"shared", 400)
    taken = cache.find(store, old, place="nightly/load").value
    assert taken is not None
    cache.keep(store, old, taken, place="nightly/load", run_id="run_now", at=NOW, is_cached=False)
    age(store.run("run_now"), 1)
    age(store.root / "objects", 400)
    assert remove(store) and not store.run("run_old").exists()
    assert store.has(taken), "its content"
    assert cache.find(store, old, place="nightly/load").from_run == "run_old", "and its answer"


def test_a_hold_keeps_a_run_and_its_contents(store: PipelineStore) -> None:
    made(store, "run_held", "load", b"held", 40)
    made(store, "run_after", "split", b"after", 32)
    hold = LegalHold(since=NOW - 41 * DAY, until=NOW - 39 * DAY, reason="case 12")
    found = sort(store, holds=[hold])
    assert {item.path.name for item in found.held} == {"run_held"}
    assert "run_after" in {item.path.name for item in found.old} and len(found.old) == 3
    other = LegalHold(kind=KeptKind.READS, since=NOW - 41 * DAY, reason="case 13")
    assert len(sort(store, holds=[other]).old) == 6, "a hold on something else"


def test_what_is_used_again_while_it_is_being_removed_stays(store: PipelineStore) -> None:
    old = made(store, "run_old", "load", b"again", 31)
    sorted_before = sort(store).old
    taken = cache.find(
        store, old, place="nightly/load"
    )  # touches the content, which is in nobody's records yet
    assert taken.value is not None
    for item in sorted_before:
        if item.path.parts[-3] == "objects":
            assert retention.remove(item) == 0
    assert store.has(taken.value)
    assert store.put_bytes(b"again") == taken.value.items[0].digest


def test_a_removal_that_broke_off_is_finished(store: PipelineStore) -> None:
    made(store, "run_old", "load", b"left", 31)
    (content,) = (item for item in sort(store).old if item.path.parts[-3] == "objects")
    hidden = content.path.with_name(f".gone-{content.path.name}-abcd")
    content.path.rename(hidden)  # a crash came after this
    assert hidden not in {item.path for item in sort(store).old}
    retention.sweep(hidden.parent)
    assert not hidden.exists()


def test_a_record_that_cannot_be_read_names_nothing(store: PipelineStore) -> None:
    made(store, "run_young", "load", b"torn", 1)
    for record in store.root.glob("*/*/made/*.json"):
        record.write_text("{")
    age(store.root / "objects", 31)
    age(store.root / "cache", 31)
    assert {item.path.parts[-3] for item in sort(store).old} == {"objects", "cache"}
