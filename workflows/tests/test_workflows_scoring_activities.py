"""Every step of a batch scoring for real on a tiny project: the plan, the job, the manifest, lineage, and refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow.parquet as pq
import pytest
import score_job_double
import score_world
import tiny_project
from ray_double import TOKEN, RayDouble, serve
from scoring_doubles import ScoreSteps
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core import errors, projects, settings, workspace
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import data_reads, scoring
from mainspring.core.contracts.training import Stage
from mainspring.core.lineage import emitter
from mainspring.core.protection import sealing, tables
from mainspring.core.scoring import outputs
from mainspring.core.synthetic import marks
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.batch_scoring import activities, messages
from mainspring.workflows.batch_scoring.workflow import BatchScore
from mainspring.workflows.ray_jobs import score_messages

T = TypeVar("T")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> tiny_project.Tiny:
    project = tiny_project.Tiny()
    monkeypatch.setattr(tiny_project, "PROJECT", project)
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    return project


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[RayDouble]:
    token = tmp_path / "state" / "ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN + "\n")
    with serve(RayDouble(execute=score_job_double.run)) as double:
        yield double


class World:
    """A workspace with features, a bundle and a dataset, and the activities over them."""

    def __init__(self, directory: Path, project: tiny_project.Tiny, ray_url: str = "", **more: str) -> None:
        state = directory / "state"
        self.settings = settings.load(
            {
                "MAINSPRING_STACK_STATE_DIR": str(state),
                "MAINSPRING_RAY_DASHBOARD_URL": ray_url or "http://127.0.0.1:9",
                "MAINSPRING_RAY_CAPACITY": "reserved",
                "MAINSPRING_SERVING_BUNDLE_DIR": str(directory / "bundles"),
                "MAINSPRING_SERVING_TRUSTED_KEYS_DIR": str(directory / "trusted"),
                "MAINSPRING_LINEAGE_TRANSPORT": "file",
                **more,
            },
            directory=directory,
        )
        space = workspace.Workspace(state, "tiny", 1.0)
        project.ingest(space.lake)
        project.build_features(space.lake, space.features)
        made = project.training_set(space.features, space.training)
        fitted = project.declare_plan().fit(pl.scan_parquet(made.path).filter(pl.col("split") == "train"))
        self.digest = score_world.write_bundle(directory, fitted)
        self.made = score_world.World(directory, space.features, fitted, self.digest)
        self.tell = emitter.of(self.settings.lineage, control_url="", token="")
        self.steps = activities.ScoringActivities(self.settings, self.tell, poll_seconds=0.01)
        self.directory = directory

    def request(self, **changes: Any) -> scoring.ScoreRequest:
        values: dict[str, Any] = {
            "run_id": "run_1",
            "project": "tiny",
            "requested_by": "ana",
            "bundle_digest": self.digest,
            "input": str(self.directory / "in"),
            "output": str(self.directory / "out"),
            "part_rows": 500,
        }
        return scoring.ScoreRequest.model_validate(values | changes)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.settings.lineage.file.read_text().splitlines()]


def do(step: Awaitable[T]) -> T:
    async def main() -> T:
        return await step

    return asyncio.run(main())


def refused(step: Callable[[], Any]) -> errors.MainspringError:
    with pytest.raises(ApplicationError) as caught:
        step()
    return temporal_errors.from_failure(caught.value)


def score(world: World, request: scoring.ScoreRequest) -> tuple[messages.Planned, messages.Scored]:
    planned = do(world.steps.plan(request))
    return planned, do(world.steps.score(messages.Score(request=request, planned=planned)))


def test_a_dataset_is_scored_once_metered_and_told(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny
) -> None:
    world = World(tmp_path, tiny, ray.url)
    world.made.dataset(files=2)
    request = world.request()
    planned, scored = score(world, request)
    assert (planned.rows, planned.parts) == (3000, 6)
    assert scored.detail["parts_found"] == 0
    book = score_messages.read_spec(Path(planned.spec_path)).book
    assert book is not None and book.unpaid().cpu_seconds == pytest.approx(0.0, abs=0.1)
    assert 0 < scored.usage.consumed_quantity * 3600 < 3.6, "what the worker's book says, not the answer"
    assert (scored.usage.service, scored.usage.run_id) == ("ray-score", "run_1")
    (held,) = scored.more_usage
    assert (held.usage_key, held.sku) == (f"{scored.usage.usage_key}/memory", "memory_gib_hour")
    assert held.consumed_quantity > 0 and held.run_id == "run_1"
    assert scored.usage.capacity == held.capacity == "reserved"
    asked = messages.Publish(request=request, planned=planned)
    published = do(world.steps.publish(asked))
    assert (published.rows, published.parts) == (3000, 6)
    manifest = outputs.Manifest.model_validate_json((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest.detail["bundle"] == world.digest and manifest.scores_digest == published.scores_digest
    found = pl.read_parquet(tmp_path / "out" / "part-*.parquet")
    assert found["row"].to_list() == list(range(3000)) and found["score"].null_count() == 0
    # The worker died before it could say so: each step again is no second effect.
    assert do(world.steps.plan(request)) == planned
    assert do(world.steps.score(messages.Score(request=request, planned=planned))) == scored
    assert do(world.steps.publish(asked)) == published
    assert ray.submitted == ["run_1-score-none-0"]


def test_lineage_has_the_dataset_the_features_the_bundle_and_the_scores(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny
) -> None:
    world = World(tmp_path, tiny, ray.url)
    world.made.dataset()
    planned, _ = score(world, world.request())
    published = do(world.steps.publish(messages.Publish(request=world.request(), planned=planned)))
    last = world.events()[-1]
    assert last["eventType"] == "COMPLETE"
    assert {d["name"] for d in last["inputs"]} == {str(tmp_path / "in"), "view.carrier_stats", "model"}
    assert [d["name"] for d in last["outputs"]] == [str(tmp_path / "out")]
    assert published.scores_digest in json.dumps(last["outputs"])
    assert planned.input_version in json.dumps(last["inputs"])
    assert world.digest in json.dumps(last["inputs"])


def test_a_job_that_was_lost_is_followed_by_one_that_does_the_rest(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny
) -> None:
    world = World(tmp_path, tiny, ray.url)
    world.made.dataset()
    score_job_double.lost_after[0] = 2
    planned, scored = score(world, world.request())
    assert ray.submitted == ["run_1-score-none-0", "run_1-score-none-1"]
    assert (scored.attempts, scored.detail["parts_found"]) == (2, 2)
    assert do(world.steps.publish(messages.Publish(request=world.request(), planned=planned))).rows == 3000


def test_another_run_takes_what_is_done_and_pays_for_the_rest(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny
) -> None:
    world = World(tmp_path, tiny, ray.url)
    world.made.dataset()
    first, _ = score(world, world.request())
    second, scored = score(world, world.request(run_id="run_2"))
    assert second.identity == first.identity
    assert scored.detail["parts_found"] == 6
    receipts = outputs.Output(outputs.places.Place.at(str(tmp_path / "out")), first.identity).done()
    assert {r.run_id for r in receipts.values()} == {"run_1"}


def test_bad_rows_fail_with_their_place_and_publish_nothing(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny
) -> None:
    world = World(tmp_path, tiny, ray.url)
    at = pl.int_range(pl.len()) == 1700
    world.made.dataset(x=pl.when(at).then(float("inf")).otherwise("x").cast(pl.Float32))
    planned = do(world.steps.plan(world.request()))
    error = refused(lambda: do(world.steps.score(messages.Score(request=world.request(), planned=planned))))
    assert isinstance(error, errors.DataInvalid) and "rows 1500 to 1999" in error.message
    assert ray.submitted == ["run_1-score-none-0"]
    error = refused(
        lambda: do(world.steps.publish(messages.Publish(request=world.request(), planned=planned)))
    )
    assert isinstance(error, errors.InvariantViolated)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert world.events()[-1]["eventType"] == "FAIL" and not world.events()[-1]["outputs"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"input": "in"}, errors.InvalidRequest, "no place that every worker understands"),
        ({"input": "/nowhere/at/all"}, errors.NotFound, "no Parquet at"),
        ({"output": "{in}/scores"}, errors.InvalidRequest, "lie one within the other"),
        ({"output": "{in}"}, errors.InvalidRequest, "lie one within the other"),
        ({"output": "{used}"}, errors.Conflict, "has files already"),
        ({"bundle_digest": "sha256:" + "0" * 64}, errors.NotFound, "no bundle"),
        ({"project": "tinny"}, errors.InvalidRequest, "is of project `tiny`"),
    ],
)
def test_what_is_wrong_is_said_before_a_row_is_scored(
    tmp_path: Path,
    tiny: tiny_project.Tiny,
    change: dict[str, str],
    error: type[errors.MainspringError],
    words: str,
) -> None:
    world = World(tmp_path, tiny)
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    places = {"in": str(world.made.dataset()), "used": str(used)}
    found = refused(
        lambda: do(world.steps.plan(world.request(**{k: v.format(**places) for k, v in change.items()})))
    )
    assert isinstance(found, error) and words in found.message
    assert not (tmp_path / "out").exists()
    assert [p.name for p in used.iterdir()] == ["notes.txt"]


def test_columns_views_and_signers_are_checked_first(tmp_path: Path, tiny: tiny_project.Tiny) -> None:
    world = World(tmp_path, tiny)
    world.made.dataset()
    untimed = world.directory / "untimed"
    untimed.mkdir()
    pl.read_parquet(tmp_path / "in").drop("as_of").write_parquet(untimed / "x.parquet")
    error = refused(lambda: do(world.steps.plan(world.request(input=str(untimed)))))
    assert isinstance(error, errors.SchemaMismatch) and error.feature == "as_of"
    at = datetime(2013, 6, 1, tzinfo=UTC)
    assert do(world.steps.plan(world.request(input=str(untimed), as_of=at))).rows == 3000
    for key in (tmp_path / "trusted").iterdir():
        key.unlink()
    error = refused(lambda: do(world.steps.plan(world.request(output=str(tmp_path / "other")))))
    assert isinstance(error, errors.PolicyDenied)


def test_an_output_of_other_inputs_is_refused(tmp_path: Path, tiny: tiny_project.Tiny) -> None:
    world = World(tmp_path, tiny)
    world.made.dataset()
    do(world.steps.plan(world.request()))
    for change in ({"part_rows": 700}, {"as_of": datetime(2013, 6, 1, tzinfo=UTC)}):
        error = refused(lambda change=change: do(world.steps.plan(world.request(run_id="run_2", **change))))
        assert isinstance(error, errors.Conflict) and "is of another scoring" in error.message
    world.made.dataset(y=pl.col("y") + 1)
    error = refused(lambda: do(world.steps.plan(world.request(run_id="run_2"))))
    assert isinstance(error, errors.Conflict)


def test_places_outside_of_the_roots_are_denied(tmp_path: Path, tiny: tiny_project.Tiny) -> None:
    world = World(tmp_path, tiny, MAINSPRING_WORKFLOW_SCORE_ROOTS=f"{tmp_path}/in, {tmp_path}/scores")
    world.made.dataset()
    error = refused(lambda: do(world.steps.plan(world.request())))
    assert isinstance(error, errors.PolicyDenied)
    assert (error.rule_id, error.cause) == ("scoring.roots", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert do(world.steps.plan(world.request(output=str(tmp_path / "scores" / "one")))).rows == 3000
    # A link below a root that leads out of it, and a name that only begins like one.
    (tmp_path / "scores" / "link").symlink_to(tmp_path)
    for way in ("scores/link/out", "scores-of-others", "scores/../out"):
        error = refused(lambda way=way: do(world.steps.plan(world.request(output=str(tmp_path / way)))))
        assert isinstance(error, errors.PolicyDenied)


def test_scores_are_written_where_the_output_says_and_not_where_a_link_leads(
    tmp_path: Path, tiny: tiny_project.Tiny
) -> None:
    world = World(tmp_path, tiny)
    world.made.dataset()
    (tmp_path / "usb").mkdir()
    (tmp_path / "own").symlink_to(tmp_path / "usb")
    error = refused(lambda: do(world.steps.plan(world.request(output=str(tmp_path / "own" / "scores")))))
    assert isinstance(error, errors.PolicyDenied) and error.rule_id == "scoring.links"
    assert f"--output {tmp_path}/usb/scores" in error.message and not list((tmp_path / "usb").iterdir())
    plain = world.request(output=f"{tmp_path}/plain//scores/")
    planned = do(world.steps.plan(plain))
    # A link that somebody laid meanwhile is found before the scores are called done.
    (tmp_path / "plain").rename(tmp_path / "moved")
    (tmp_path / "plain").symlink_to(tmp_path / "moved")
    error = refused(lambda: do(world.steps.publish(messages.Publish(request=plain, planned=planned))))
    assert isinstance(error, errors.PolicyDenied) and error.rule_id == "scoring.links"


@pytest.mark.parametrize(
    ("output", "is_let"),
    [
        ("s3://lake/scores/one?endpoint_override=store:8333&scheme=http", True),
        ("s3://lake/scores/one", False),
        ("s3://lake/scores/one?endpoint_override=elsewhere:80&scheme=http", False),
        ("s3://lake/scoresheet?endpoint_override=store:8333&scheme=http", False),
        ("s3://other/scores/one?endpoint_override=store:8333&scheme=http", False),
    ],
)
def test_how_a_store_is_reached_is_the_operators_to_say(
    tmp_path: Path, tiny: tiny_project.Tiny, output: str, is_let: bool
) -> None:
    root = "s3://lake/scores/?endpoint_override=store:8333&scheme=http"
    world = World(tmp_path, tiny, MAINSPRING_WORKFLOW_SCORE_ROOTS=f"{tmp_path}/in,{root}")
    # The signature is asked after the roots, and before anything of the store.
    asked = world.request(output=output, bundle_digest="sha256:" + "0" * 64)
    error = refused(lambda: do(world.steps.plan(asked)))
    assert isinstance(error, errors.NotFound if is_let else errors.PolicyDenied), error


def test_the_whole_run_tells_its_progress(tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny) -> None:
    world = World(tmp_path, tiny, ray.url)
    world.made.dataset()
    steps = [*world.steps.all(), *(a for a in ScoreSteps().activities() if "usage" in a.__name__)]

    async def story(client: Client, _: WorkflowEnvironment) -> tuple[scoring.ScoreResult, list[str]]:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_scoring(world.request())
        result = await ours.scoring_result("run_1")
        history = await client.get_workflow_handle("run_1").fetch_history()
        signals = [
            e.workflow_execution_signaled_event_attributes.input.payloads[0].data.decode()
            for e in history.events
            if e.HasField("workflow_execution_signaled_event_attributes")
        ]
        return result, signals

    result, signals = run(story, [BatchScore], [*steps, *Endpoint().activities()])
    assert (result.stage, result.rows, result.parts) == (Stage.DONE, 3000, 6)
    told = [scoring.ScoreProgress.model_validate_json(s).rows_done for s in signals]
    assert told and told == sorted(set(told)) and told[-1] <= 3000
    assert (
        score_messages.read_progress(
            workspace.Workspace(world.settings.stack.state_dir, "tiny", 1.0).run("run_1")
            / "score-progress.json"
        )
        is not None
    )


def test_rows_that_tell_of_persons_are_asked_about_before_the_output_is_taken(
    tmp_path: Path, tiny: tiny_project.Tiny
) -> None:
    world, asked = World(tmp_path, tiny), list[data_reads.DataRead]()
    cipher = sealing.Cipher({"0a0a0a0a": bytes(32)}, current="0a0a0a0a")
    scheme = tables.Scheme.parse({"dataset": "lake.rows", "columns": {"note": {}}})

    def ask(project: str, read: data_reads.DataRead) -> None:
        asked.append(read)
        if not (set(read.datasets[0].sealed) or read.datasets[0].is_synthetic):
            raise errors.PolicyDenied("make rows of nobody", rule_id="data.use.synthetic-only")

    world.steps = activities.ScoringActivities(world.settings, ask=ask)
    world.made.dataset(note=pl.lit("ann"))
    denied = refused(lambda: do(world.steps.plan(world.request())))
    assert isinstance(denied, errors.PolicyDenied) and not (tmp_path / "out").exists()
    rows, view = asked[0].datasets
    assert rows.is_uncatalogued and view.name == "view.carrier_stats"
    assert {"note", "x", "carrier"} <= set(rows.columns) and "late_share" in view.columns

    (file,) = (tmp_path / "in").iterdir()
    tables.write(pl.read_parquet(file), file, scheme, cipher)
    assert do(world.steps.plan(world.request())).rows == 3000
    assert asked[-1].datasets[0].sealed == ["note"]
    made = pl.read_parquet(file).to_arrow()
    pq.write_table(made.cast(marks.mark(made.schema, "sha256:1")), file)
    do(world.steps.plan(world.request(output=str(tmp_path / "other"))))
    assert asked[-1].datasets[0].is_synthetic
