"""What an earlier release left on disk answers as it did: online rows, a lake, bundles of each kind, histories, settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import make_state
import numpy as np
import pytest
import upgrade_state
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from mainspring.core import errors, ports, settings
from mainspring.core.features import folders, lake, online, segment_manifest, segment_search, segments
from mainspring.core.models import bundle
from mainspring.serving import signed_bundles
from mainspring.serving.runtimes import chosen
from mainspring.workflows import worker

#: Kinds whose scores are ours to the last bit on every machine; the others are of libraries, and those of torch and ONNX differ by CPU.
OURS = ("embedding_mlp", "trees", "ensemble")


@pytest.fixture(scope="module", params=upgrade_state.STATES, ids=lambda p: p.name.partition(".")[0])
def state(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("home")
    return home, upgrade_state.unpack(request.param, home)


@pytest.fixture
def home(state: tuple[Path, dict[str, Any]]) -> Path:
    return state[0]


@pytest.fixture
def expected(state: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return state[1]


def test_there_is_a_state() -> None:
    assert upgrade_state.STATES
    assert sum(path.stat().st_size for path in upgrade_state.STATES) < 1 << 20


def test_online_rows_answer_as_they_did_and_take_more(home: Path, expected: dict[str, Any]) -> None:
    with online.OnlineStore(home / "online") as store:
        assert store.views() == (make_state.VIEW,)
        assert make_state.answered(store) == expected["online"]
        later = np.int64([make_state.NOW_US + 1])
        newer = store.upsert(
            make_state.VIEW.name,
            {"origin": ["nowhere"], "flight": [4]},
            event_us=later,
            created_us=later,
            columns={
                "mean_delay": [1.0],
                "exact": [1.0],
                "flights": [1],
                "is_hub": [True],
                "weather": ["clear"],
            },
        )
        assert newer == 1
    with online.OnlineStore(home / "online") as store:
        asked = {name: values[:3] for name, values in make_state.KEYS.items()}
        rows = store.read(make_state.VIEW.name, asked, now_us=make_state.NOW_US)
        assert rows.status.tolist() == expected["online"]["status"][:3]
        later_on = store.read(make_state.VIEW.name, make_state.KEYS, now_us=make_state.NOW_US + 1)
        assert later_on.status[3] == ports.FeatureStatus.PRESENT


def test_a_lake_and_its_segments_are_read_and_made_anew(home: Path, expected: dict[str, Any]) -> None:
    assert folders.read(home / "lake", kind="facts").digest == expected["lake"]["digest"]
    manifest = segment_manifest.read(home / "segments")
    kept = segments.Current(
        tuple(
            segment_search.opened(home / "segments", entry, make_state.ORDER) for entry in manifest.segments
        )
    )
    assert make_state.matched(kept) == expected["lake"]["matched"]
    # Files that were moved are other files, which only a refresh may tell.
    source = segments.Segments(home / "segments", lake.Parquet(f"{home / 'lake'}/"), make_state.ORDER)
    with pytest.raises(errors.Conflict, match="stale"):
        source.current()
    assert make_state.matched(source.current(refresh=True)) == expected["lake"]["matched"]


@pytest.mark.timeout(300)  # alone it imports torch and ONNX Runtime first: a minute among twenty others
def test_bundles_of_each_kind_open_and_score_as_they_did(home: Path, expected: dict[str, Any]) -> None:
    loader = signed_bundles.SignedBundleLoader(
        bundle.BundleStore(home / "models" / "bundles"),
        home / "models" / "trusted",
        chosen.runtimes(settings.load({}, directory=home / "elsewhere").serving),
        lambda _project: lambda columns: columns,
    )
    assert set(OURS) < set(expected["bundles"])
    if not expected["bundles"]["trees"].get("is_attested", False):
        with pytest.raises(
            errors.PolicyDenied, match=r"no `provenance.intoto.json`.*a line `unattested` in `builders.txt`"
        ):
            loader.load(expected["bundles"]["trees"]["digest"])
        (home / "models" / "trusted" / "builders.txt").write_text("unattested\n")
    for kind, told in expected["bundles"].items():
        got = make_state.scores(loader.load(told["digest"]))
        if kind in OURS:
            assert got == told["scores"], kind
        else:
            values = [
                np.frombuffer(b"".join(map(bytes.fromhex, scores)), np.float32)
                for scores in (got, told["scores"])
            ]
            np.testing.assert_allclose(*values, rtol=1e-6, err_msg=kind)


def test_a_bundle_of_then_that_was_changed_is_refused(
    home: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    store = bundle.BundleStore(home / "models" / "bundles")
    with pytest.raises(errors.PolicyDenied, match="trusted keys"):
        store.open(expected["bundles"]["trees"]["digest"], bundle.signing.TrustedKeys([]))


def test_histories_of_then_replay(home: Path, expected: dict[str, Any]) -> None:
    """Those that are the same today are replayed by `tests/replay`."""
    today = Path(__file__).parents[1] / "replay" / "histories"
    stories = [(home / "histories" / f"{name}.json").read_text() for name in expected["histories"]]
    assert len(stories) > 10
    others = [
        WorkflowHistory.from_json(name, text)
        for name, text in zip(expected["histories"], stories, strict=True)
        if not (today / f"{name}.json").exists() or (today / f"{name}.json").read_text() != text
    ]
    replayer = Replayer(workflows=worker.WORKFLOWS, data_converter=pydantic_data_converter)
    for story in others:
        asyncio.run(replayer.replay_workflow(story))


def test_a_settings_file_of_then_loads(home: Path, expected: dict[str, Any]) -> None:
    loaded = settings.load({}, directory=home).model_dump(mode="json")
    assert upgrade_state.lost(expected["settings"], make_state.told(loaded, home)) == []
    assert loaded["cost"]["gpu_hour"] == 3.25  # of the file, not of the defaults
