"""Runs and versions are found again, on a real MLflow: its store over SQLite, and its server, which checks more."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mainspring.core import canonical, errors
from mainspring.core.models import mlflow_adapter

pytestmark = [
    pytest.mark.slow,
    # MLflow's migrations and store use old forms of alembic and SQLAlchemy.
    pytest.mark.filterwarnings("default"),
    # The first call makes the whole schema.
    pytest.mark.timeout(300),
]

DIGEST = canonical.digest("bundle 1")


@pytest.fixture(scope="module", params=["store", "server"])
def tracking(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[mlflow_adapter.Tracking]:
    folder = tmp_path_factory.mktemp("mlflow")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    if request.param == "store":
        yield mlflow_adapter.Tracking(store)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--artifacts-destination", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--workers", "1"], stdout=log, stderr=log, start_new_session=True
        )
    try:
        # The client's own retries wait for the server: seven, doubling.
        yield mlflow_adapter.Tracking(f"http://127.0.0.1:{port}")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_run_is_made_once_per_run_id(tracking: mlflow_adapter.Tracking) -> None:
    first = tracking.ensure_run("flight-delay", "run_1", tags={"who": "test"})
    assert tracking.ensure_run("flight-delay", "run_1") == first
    assert tracking.ensure_run("flight-delay", "run_2") != first
    assert tracking.ensure_run("other-project", "run_1") != first
    assert tracking._client.get_run(first).data.tags["who"] == "test"


def test_logging_again_changes_nothing_and_parameters_stay(tracking: mlflow_adapter.Tracking) -> None:
    run = tracking.ensure_run("flight-delay", "run_log")
    metrics = mlflow_adapter.flat_metrics({"test": {"auc": 0.71}, "test/base_rate": {"auc": 0.5}})
    for _ in range(2):
        tracking.log(run, params={"epochs": 3, "hidden sizes": [16, 8], "odd@name": "x"}, metrics=metrics)
    tracking.log(run, metrics={"loss": 0.6}, step=0)
    tracking.log(run, metrics={"loss": 0.5}, step=1)
    data = tracking._client.get_run(run).data
    assert data.params == {"epochs": "3", "hidden sizes": "[16,8]", "odd_name": "x"}
    assert data.metrics == {"test/auc": 0.71, "test/base_rate/auc": 0.5, "loss": 0.5}
    assert len(tracking._client.get_metric_history(run, "test/auc")) == 1
    assert [m.value for m in tracking._client.get_metric_history(run, "loss")] == [0.6, 0.5]
    with pytest.raises(errors.InvalidRequest, match="refused"):
        tracking.log(run, params={"epochs": 4})
    with pytest.raises(errors.InvalidRequest, match="finite"):
        tracking.log(run, metrics={"loss": float("nan")})


def test_finish(tracking: mlflow_adapter.Tracking) -> None:
    run = tracking.ensure_run("flight-delay", "run_end")
    tracking.finish(run, "FAILED")
    assert tracking._client.get_run(run).info.status == "FAILED"
    with pytest.raises(errors.InvalidRequest, match="FINISHED"):
        tracking.finish(run, "DONE")


def test_bundle_is_registered_once_and_found_by_alias(tracking: mlflow_adapter.Tracking) -> None:
    run = tracking.ensure_run("flight-delay", "run_reg")
    assert tracking.find("flight-delay", DIGEST) is None
    first = tracking.register("flight-delay", DIGEST, mlflow_run_id=run, tags={"stage": "candidate"})
    assert tracking.register("flight-delay", DIGEST, mlflow_run_id=run) == first
    assert (first.version, first.run_id, first.bundle_digest) == ("1", "run_reg", DIGEST)
    second = tracking.register("flight-delay", canonical.digest("bundle 2"), mlflow_run_id=run)
    assert second.version == "2"
    tracking.set_alias("flight-delay", "champion", first.version)
    tracking.set_alias("flight-delay", "champion", second.version)
    champion = tracking.by_alias("flight-delay", "champion")
    assert champion.bundle_digest == second.bundle_digest
    assert champion.aliases == ("champion",)
    found = tracking.find("flight-delay", DIGEST)
    assert found is not None and found.aliases == ()


def test_a_retired_version_loses_its_aliases_and_says_so(tracking: mlflow_adapter.Tracking) -> None:
    run, digest = tracking.ensure_run("retired-model", "run_r"), canonical.digest("retired")
    made = tracking.register("retired-model", digest, mlflow_run_id=run)
    for alias in ("champion", "candidate"):
        tracking.set_alias("retired-model", alias, made.version)
    gone = tracking.retire("retired-model", digest, tags={"state": "retired", "reason": "it leaks"})
    assert gone is not None and gone.aliases == ("candidate", "champion")
    assert (
        tracking.retire("retired-model", digest, tags={"state": "retired"}) == gone
    )  # and again: no alias is lost
    found = tracking.find("retired-model", digest)
    assert found is not None and found.aliases == ()
    tags = tracking._client.get_model_version("retired-model", made.version).tags
    assert (tags["mainspring.state"], tags["mainspring.reason"]) == ("retired", "it leaks")
    with pytest.raises(errors.NotFound):
        tracking.by_alias("retired-model", "champion")
    assert tracking.retire("retired-model", canonical.digest("none"), tags={}) is None


def test_younger_twin_gives_way(tracking: mlflow_adapter.Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of two racing callers looked before either made: the older answer wins and the younger is removed."""
    run = tracking.ensure_run("flight-delay", "run_race")
    digest = canonical.digest("raced")
    winner = tracking.register("flight-delay", digest, mlflow_run_id=run)
    for name in ("_find_run", "_find_version"):
        real, calls = getattr(tracking, name), []

        def blind_once(*args: str, real: object = real, calls: list[int] = calls) -> object:
            calls.append(1)
            return None if len(calls) == 1 else real(*args)  # type: ignore[operator]

        monkeypatch.setattr(tracking, name, blind_once)
    assert tracking.ensure_run("flight-delay", "run_race") == run
    assert tracking.register("flight-delay", digest, mlflow_run_id=run) == winner
    versions = tracking._client.search_model_versions(f"tags.`{mlflow_adapter.DIGEST_TAG}` = '{digest}'")
    assert [str(v.version) for v in versions] == [winner.version]


@pytest.mark.parametrize(("name", "version"), [("flight-delay", "999"), ("no-such-model", "1")])
def test_alias_of_nothing_is_not_found(tracking: mlflow_adapter.Tracking, name: str, version: str) -> None:
    with pytest.raises(errors.NotFound):
        tracking.set_alias(name, "champion", version)


def test_bad_names_do_not_reach_the_filter(tracking: mlflow_adapter.Tracking) -> None:
    for call in (
        lambda: tracking.ensure_run("flight-delay", "x' or '1' = '1"),
        lambda: tracking.ensure_run("Bad Project", "run_1"),
        lambda: tracking.find("flight-delay", "sha256:' or 1"),
        lambda: tracking.register("a'b", DIGEST, mlflow_run_id="x"),
    ):
        with pytest.raises(errors.InvalidRequest):
            call()


def test_server_that_does_not_answer_is_a_dependency_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        uri = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(errors.DependencyDown, match="tracking.uri"):
            mlflow_adapter.Tracking(uri).ensure_run("flight-delay", "run_1")
