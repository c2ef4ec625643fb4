"""Stateless replicas of signed bundles on Ray Serve: their settings here, their answers in `tests/deploy/test_deploy_rayservice.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import serving_bundles
from serving_world import settings_in

from mainspring.core import errors, settings
from mainspring.core.contracts import prediction
from mainspring.core.models import withdrawn
from mainspring.serving.ray_serve import signed_bundle


def written(tmp_path: Path, tensor_models: str) -> settings.Settings:
    s = settings_in(tmp_path)
    return s.model_copy(
        update={
            "serving": s.serving.model_copy(
                update={
                    "tensor_models": tensor_models,
                    "bundle_dir": tmp_path / "bundles",
                    "trusted_keys_dir": tmp_path / "trusted",
                }
            )
        }
    )


def test_all_that_a_replica_writes_is_its_own(tmp_path: Path) -> None:
    s = written(tmp_path, "ranker=sha256:" + "1" * 64)
    (tmp_path / "own").mkdir()
    own = signed_bundle.own_settings(s, tmp_path / "own").serving
    paths = {name: value for name, value in own if isinstance(value, Path)}
    outside = {name for name, value in paths.items() if not value.is_relative_to(tmp_path / "own")}
    assert outside == {"bundle_dir", "trusted_keys_dir"}
    assert (own.front, own.grpc_port, own.processes, own.usage_report_seconds) == ("off", 0, 1, 0.0)
    assert own.tensor_models == s.serving.tensor_models and own.bundle_dir == s.serving.bundle_dir


@pytest.mark.parametrize("empty", ["", " , "])
def test_without_a_bundle_there_is_nothing_to_answer_with(tmp_path: Path, empty: str) -> None:
    with pytest.raises(errors.InvalidSettings, match="MAINSPRING_SERVING_TENSOR_MODELS of Ray's nodes"):
        signed_bundle.own_settings(written(tmp_path, empty), tmp_path)


@contextlib.contextmanager
def in_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digest: str
) -> Iterator[signed_bundle.BundleReplica]:
    """A replica as Ray builds it, without Ray."""
    for name, value in {
        "MAINSPRING_SERVING_TENSOR_MODELS": f"ranker={digest}",
        "MAINSPRING_SERVING_BUNDLE_DIR": tmp_path / "bundles",
        "MAINSPRING_SERVING_TRUSTED_KEYS_DIR": tmp_path / "trusted",
        "MAINSPRING_STACK_STATE_DIR": tmp_path / "state",
        "TMPDIR": tmp_path,
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("mainspring.serving.logs.install", lambda s: None)
    made = signed_bundle.BundleReplica()
    try:
        yield made
    finally:
        made.__del__()
        monkeypatch.undo()


def test_it_is_well_until_its_bundle_is_withdrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = serving_bundles.Home(tmp_path)
    digest = home.write_network(project="flight-delay")
    with in_process(monkeypatch, tmp_path, digest) as replica:
        app = replica.__serve_build_asgi_app__()

        async def asked() -> httpx.Response:
            await replica.check_health()
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
                return await client.get("/v2/models/ranker")

        assert json.loads(asyncio.run(asked()).content)["versions"] == [digest]
        assert list(tmp_path.glob("mainspring-replica-*")), "its folder"
        mark = prediction.BundleWithdrawal(digest=digest, reason="a leak", by="ana@local", at=None)
        withdrawn.mark(home.store.root, mark)
        with pytest.raises(errors.PolicyDenied, match="withdrawn"):
            asyncio.run(replica.check_health())
    assert not list(tmp_path.glob("mainspring-replica-*")), "nothing outlives a replica"


def test_a_bundle_that_was_changed_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = serving_bundles.Home(tmp_path)
    digest = home.write_network(project="flight-delay")
    card = home.store.root / digest.removeprefix("sha256:") / "card.md"
    card.chmod(0o644)
    card.write_text("# changed\n")
    with in_process(monkeypatch, tmp_path, digest) as replica:
        with pytest.raises(errors.Misconfigured, match="tensor model `ranker` needs bundle .* damaged"):
            replica.__serve_build_asgi_app__()
        assert not list(tmp_path.glob("mainspring-replica-*"))
