"""A made project's way over the platform: installed, trained by the activities of a training, signed, registered, served."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

for room in ("serving", "workflows"):
    sys.path.insert(0, str(Path(__file__).parents[3] / room / "tests"))

import job_double  # noqa: E402
import score_job_double  # noqa: E402
import serving_world  # noqa: E402
from activity_calls import do  # noqa: E402
from ray_double import TOKEN, RayDouble, serve  # noqa: E402

from mainspring.core import projects, settings  # noqa: E402
from mainspring.core.client.serving import ServingClient  # noqa: E402
from mainspring.core.contracts import prediction, scoring, training  # noqa: E402
from mainspring.core.contracts.deployment import TrafficTable  # noqa: E402
from mainspring.core.features import replay  # noqa: E402
from mainspring.core.models import bundle, mlflow_adapter, signing, torch_threads  # noqa: E402
from mainspring.platform.cli.main import cli  # noqa: E402
from mainspring.serving import signed_bundles  # noqa: E402
from mainspring.serving.runtimes import chosen  # noqa: E402
from mainspring.workflows.batch_scoring import activities as batch_activities  # noqa: E402
from mainspring.workflows.batch_scoring import messages as batch_messages  # noqa: E402
from mainspring.workflows.ray_jobs import score_messages, train_messages  # noqa: E402
from mainspring.workflows.training import data_activities, messages, model_activities, run_folder  # noqa: E402


def new(folder: Path, *arguments: str) -> dict[str, Any]:
    """`mainspring new`, as a script calls it."""
    done = CliRunner().invoke(
        cli, ["new", *arguments, "--folder", str(folder), "--owner", "eva@example.org", "--json"]
    )
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)["data"]
    return found


@contextlib.contextmanager
def installed(folder: Path, name: str) -> Iterator[projects.Project]:
    """As `pip install -e` leaves it: the folder on the path, and its entry point beside it."""
    about = folder / f"{name.replace('-', '_')}-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    package = name.replace("-", "_")
    (about / "entry_points.txt").write_text(f"[mainspring.projects]\n{name} = {package}.project:PROJECT\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        try:
            yield projects.load_project(name)
        finally:
            for module in [m for m in sys.modules if m.partition(".")[0] == package]:
                del sys.modules[module]


@dataclass
class Made:
    """What a training left."""

    project: projects.Project
    bundles: messages.Bundled
    metrics: dict[str, training.Metrics]
    predictions: pl.DataFrame
    folder: run_folder.RunFolder
    version: str


class Platform:
    """One state directory, store of bundles and registry for all projects of a test run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        token = directory / "state" / "ray" / "auth_token"
        token.parent.mkdir(parents=True)
        token.write_text(TOKEN + "\n")
        self.environ = {
            "MAINSPRING_STACK_STATE_DIR": str(directory / "state"),
            "MAINSPRING_TRACKING_URI": f"sqlite:///{directory}/mlflow.db",
            "MAINSPRING_SERVING_BUNDLE_DIR": str(directory / "bundles"),
            "MAINSPRING_SERVING_TRUSTED_KEYS_DIR": str(directory / "trusted"),
        }

    def train(self, project: projects.Project, sample_fraction: float, **changes: Any) -> Made:
        """Every activity of a training, to an admitted and registered bundle."""
        request = training.TrainRequest.model_validate(
            {
                "run_id": f"run_{project.name}",
                "project": project.name,
                "requested_by": "ana",
                "sample_fraction": sample_fraction,
                "num_workers": 1,
                **changes,
            }
        )
        with serve_ray() as url:
            s = settings.load({**self.environ, "MAINSPRING_RAY_DASHBOARD_URL": url}, directory=self.directory)
            data = data_activities.DataActivities(s.stack.state_dir)
            model = model_activities.ModelActivities(s, poll_seconds=0.01)
            for step in (
                data.ingest,
                data.validate,
                data.features,
                data.join,
                data.leak_check,
                data.fit_plan,
            ):
                do(step(request))
            trained = do(model.train(request))
            found = do(model.evaluate(messages.Evaluate(request=request, output_path=trained.output_path)))
            asked = messages.Bundle(
                request=request, output_path=trained.output_path, metrics=found.metrics, gates=found.gates
            )
            bundles = do(model.bundle(asked))
            registered = do(
                model.register(
                    messages.Register(
                        request=request,
                        bundles=bundles,
                        metrics=found.metrics,
                        output_path=trained.output_path,
                    )
                )
            )
            do(model.admit(messages.Admit(request=request, bundles=bundles)))
        output = train_messages.read_output(Path(trained.output_path))
        return Made(
            project,
            bundles,
            found.metrics,
            pl.read_parquet(output.predictions_path),
            run_folder.RunFolder.of(s.stack.state_dir, request),
            registered.version,
        )

    def registered(self, made: Made) -> mlflow_adapter.Tracking:
        return mlflow_adapter.Tracking(self.environ["MAINSPRING_TRACKING_URI"])

    def score(self, made: Made, source: Path, target: Path) -> pl.DataFrame:
        """Every activity of a batch scoring of the candidate: `source`'s rows with their scores."""
        request = scoring.ScoreRequest(
            run_id=f"run_score_{made.project.name}",
            project=made.project.name,
            requested_by="ana",
            bundle_digest=made.bundles.candidate,
            input=str(source),
            output=str(target),
            sample_fraction=made.folder.space.sample_fraction,
            num_workers=1,
        )
        with serve_ray() as url:
            s = settings.load({**self.environ, "MAINSPRING_RAY_DASHBOARD_URL": url}, directory=self.directory)
            steps = batch_activities.ScoringActivities(s, poll_seconds=0.01)
            planned = do(steps.plan(request))
            do(steps.score(batch_messages.Score(request=request, planned=planned)))
            published = do(steps.publish(batch_messages.Publish(request=request, planned=planned)))
        rows = pl.read_parquet(target / "part-*.parquet")
        assert rows.height == published.rows and (target / "manifest.json").is_file()
        return rows

    def opened(self, made: Made) -> bundle.Bundle:
        """Verified."""
        s = settings.load(self.environ, directory=self.directory)
        trust = signing.TrustedKeys.load(s.serving.trusted_keys_dir)
        return bundle.BundleStore(s.serving.bundle_dir).open(made.bundles.candidate, trust)

    @contextlib.contextmanager
    def served(self, made: Made) -> Iterator[ServingClient]:
        """The bundle behind an endpoint of the project's name, in a server that finds the project as installed."""
        s = settings.load(self.environ, directory=self.directory)
        loader = signed_bundles.SignedBundleLoader(
            bundle.BundleStore(s.serving.bundle_dir), s.serving.trusted_keys_dir, chosen.runtimes(s.serving)
        )
        folder = self.directory / f"serving-{made.project.name}"
        folder.mkdir(exist_ok=True)
        with serving_world.serve(folder, loaded_by=loader, front="off") as running:
            token = running.tokens.token_of("service@local")
            with ServingClient(running.url, token=token) as client:
                client.load_bundle(made.bundles.candidate)
                table = TrafficTable(endpoint=made.project.name, version=1, stable=made.bundles.candidate)
                client.set_traffic(table)
                yield client


def replayed(client: ServingClient, made: Made, n: int) -> list[tuple[float, int]]:
    """Questions of the test split, asked in order of their time with what was known by then: score and outcome."""
    answers: list[tuple[float, int]] = []
    for step in replay.steps(made.project.replay(made.folder.space.features, n=n)):
        for pushed in step.updates:
            client.push(
                prediction.FeaturePush(
                    view=pushed.view,
                    keys=pushed.keys,
                    event_times=pushed.event_times,
                    created_times=pushed.created_times,
                    columns=pushed.columns,
                )
            )
        asked = prediction.PredictRequest(entities=step.entities, as_of=step.as_of)
        answer = client.predict(made.project.name, asked)
        answers += zip((p.score for p in answer.predictions), step.labels, strict=True)
    return answers


def local(file: Path, store: Path, *given: str) -> dict[str, Any]:
    """`mainspring run FILE --local`, where its file is: its nodes by name."""
    options = [word for one in given for word in ("--set", one)]
    with contextlib.chdir(file.parent):  # steps of this process write where it is
        done = CliRunner().invoke(cli, ["run", str(file), "--local", str(store), "--json", *options])
    assert done.exit_code == 0, done.output
    return {node["name"]: node for node in json.loads(done.output)["data"]}


def claiming(pictures: pl.DataFrame, category: str) -> prediction.PredictRequest:
    return prediction.PredictRequest(entities=[{"category": category, **row} for row in pictures.to_dicts()])


def paragraphs(count: int) -> pl.DataFrame:
    """So many paragraphs of Python's language reference and of numpy's docstrings, which every machine has; `positive`: Python's."""
    python = [p for text in topics.topics.values() for p in text.split("\n\n")]
    theirs = [p for name in dir(np) for p in str(getattr(getattr(np, name), "__doc__", "")).split("\n\n")]
    found = []
    for label, texts in ((1, python), (0, theirs)):
        long = [" ".join(p.split()) for p in texts if len(p) > 120]
        found += [(text, label) for text in long[:: max(1, len(long) // (count // 2))][: count // 2]]
    random = np.random.default_rng(1)
    rows = pl.DataFrame(found, schema={"text": pl.String, "positive": pl.Int8}, orient="row")
    rows = rows[random.permutation(rows.height)]
    part = pl.int_range(pl.len()) % 5
    named = (
        pl.when(part == 3)
        .then(pl.lit("valid"))
        .when(part == 4)
        .then(pl.lit("test"))
        .otherwise(pl.lit("train"))
    )
    return rows.with_columns(part=named)


@contextlib.contextmanager
def serve_ray() -> Iterator[str]:
    """Ray's Jobs API, whose jobs are done in this process."""
    torch_threads.settle(1)  # as Ray's workers have it
    with serve(RayDouble(execute=_job)) as double:
        yield double.url


def _job(entrypoint: str) -> str:
    return (score_job_double if score_messages.MODULE in entrypoint else job_double).run(entrypoint)
