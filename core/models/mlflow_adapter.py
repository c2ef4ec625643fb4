"""The only file that knows MLflow: runs by our run id, model versions by bundle digest.

Every call may be repeated. MLflow has no uniqueness over tags, so of two runs or versions made at the same moment the
older one is everybody's answer and the younger is deleted by whoever made it.

A version's source is `mainspring-bundle://sha256/<hex>`, not a path: MLflow's server refuses local paths outside the run's
artifacts, and a digest is true on every machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import mlflow
from mlflow import entities, exceptions
from mlflow.protos import databricks_pb2

from mainspring.core import canonical, errors, ids

RUN_TAG: Final = "mainspring.run_id"
DIGEST_TAG: Final = "mainspring.bundle_digest"
ALIASES_TAG: Final = "mainspring.retired_aliases"
SOURCE_PREFIX: Final = "mainspring-bundle://sha256/"

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_RUN_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_NAME: Final = re.compile(r"[^A-Za-z0-9_\-. /]")
_END_STATES: Final = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True)
class ModelVersion:
    """A registered version; `version` counts from 1 within `name`. `run_id` is ours, empty if unknown."""

    name: str
    version: str
    bundle_digest: str
    run_id: str
    aliases: tuple[str, ...]


class Tracking:
    """One tracking and registry server, or a `sqlite:///` file (tests). Thread-safe as MLflow's client is.

    Errors of every method: DependencyDown if MLflow does not answer or fails; InvalidRequest if it refuses a value.
    """

    def __init__(self, uri: str) -> None:
        with _mapped():
            self._client: Any = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)

    def ensure_run(self, project: str, run_id: str, *, tags: Mapping[str, str] | None = None) -> str:
        """MLflow's id of the run tagged with our `run_id`, in the project's experiment; made if there is none."""
        ids.check_slug(project, "project")
        _check_run_id(run_id)
        with _mapped():
            experiment_id = self._ensure_experiment(project)
            found = self._find_run(experiment_id, run_id)
            if found is not None:
                return found
            made = self._client.create_run(
                experiment_id, tags={**(tags or {}), RUN_TAG: run_id}, run_name=run_id
            )
            mine = str(made.info.run_id)
            first = self._find_run(experiment_id, run_id)
            if first is None or first == mine:
                return mine
            self._client.delete_run(mine)
            return first

    def log(
        self,
        mlflow_run_id: str,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
    ) -> None:
        """Record parameters and metrics. The same again changes nothing.

        Characters that MLflow does not allow in a name become `_`. A metric that is not finite is InvalidRequest;
        so is another value for a recorded parameter: a run's parameters do not change.
        """
        for name, value in (metrics or {}).items():
            if not math.isfinite(value):
                raise errors.InvalidRequest(
                    f"metric `{name}` is {value}; log finite numbers", field=f"metrics.{name}"
                )
        with _mapped():
            # The run's own start as time stamp: a repeated call writes the same rows and not a second history.
            time_ms = self._client.get_run(mlflow_run_id).info.start_time
            self._client.log_batch(
                mlflow_run_id,
                params=[entities.Param(_name(k), _text(v)) for k, v in (params or {}).items()],
                metrics=[
                    entities.Metric(_name(k), float(v), time_ms, step) for k, v in (metrics or {}).items()
                ],
            )

    def finish(self, mlflow_run_id: str, status: str = "FINISHED") -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        if status not in _END_STATES:
            raise errors.InvalidRequest(
                f"`{status}` ends no run; use one of {', '.join(_END_STATES)}", field="status"
            )
        with _mapped():
            self._client.set_terminated(mlflow_run_id, status=status)

    def register(
        self, name: str, bundle_digest: str, *, mlflow_run_id: str, tags: Mapping[str, str] | None = None
    ) -> ModelVersion:
        """The version of model `name` that is this bundle; made if there is none."""
        ids.check_slug(name, "model")
        _check_digest(bundle_digest)
        with _mapped():
            found = self._find_version(name, bundle_digest)
            if found is not None:
                return found
            self._ensure_model(name)
            run = self._client.get_run(mlflow_run_id)
            made = self._client.create_model_version(
                name,
                source=SOURCE_PREFIX + bundle_digest.removeprefix("sha256:"),
                run_id=mlflow_run_id,
                tags={
                    **(tags or {}),
                    DIGEST_TAG: bundle_digest,
                    RUN_TAG: run.data.tags.get(RUN_TAG, ""),
                },
            )
            first = self._find_version(name, bundle_digest)
            if first is None:
                raise errors.DependencyDown(
                    f"mlflow made version {made.version} of `{name}` but does not find it; check its database",
                    name="mlflow",
                )
            if first.version != str(made.version):
                self._client.delete_model_version(name, made.version)
            return first

    def find(self, name: str, bundle_digest: str) -> ModelVersion | None:
        """The version of `name` that is this bundle, or None."""
        ids.check_slug(name, "model")
        _check_digest(bundle_digest)
        with _mapped():
            return self._find_version(name, bundle_digest)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point `alias` at a version; it leaves the one it pointed at. Errors: NotFound for no such version."""
        with _mapped("model version", f"{name}/{version}"):
            self._client.set_registered_model_alias(name, alias, version)

    def retire(self, name: str, bundle_digest: str, *, tags: Mapping[str, str]) -> ModelVersion | None:
        """Take every alias from the version that is this bundle, and tag it (`mainspring.<key>`); None if there is none.

        The aliases of the answer are those that it had when it was first retired: they are kept in a tag before they go.
        """
        found = self.find(name, bundle_digest)
        if found is None:
            return None
        with _mapped("model version", f"{name}/{found.version}"):
            before = self._client.get_model_version(name, found.version).tags.get(ALIASES_TAG, "")
            had = tuple(sorted({*before.split(","), *found.aliases} - {""}))
            for key, value in {
                **{f"mainspring.{k}": v for k, v in tags.items()},
                ALIASES_TAG: ",".join(had),
            }.items():
                self._client.set_model_version_tag(name, found.version, key, value)
            for alias in found.aliases:
                self._client.delete_registered_model_alias(name, alias)
        return dataclasses.replace(found, aliases=had)

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """The version an alias points at. Errors: NotFound."""
        with _mapped("model alias", f"{name}@{alias}"):
            try:
                version = self._client.get_model_version_by_alias(name, alias)
            except exceptions.MlflowException as error:
                # MLflow's word for an alias that a model has not.
                if not _is(error, databricks_pb2.INVALID_PARAMETER_VALUE):
                    raise
                raise errors.NotFound(
                    f"no version of model `{name}` is its `{alias}`; set the alias, or name a version",
                    resource="model alias",
                    name=f"{name}@{alias}",
                ) from error
            # The answer by alias lists no aliases; the one by number does.
            return _version(self._client.get_model_version(name, version.version))

    def _ensure_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name))
            except exceptions.MlflowException as error:
                if not _is(error, databricks_pb2.RESOURCE_ALREADY_EXISTS):
                    raise
                experiment = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id)

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except exceptions.MlflowException as error:
            if not _is(error, databricks_pb2.RESOURCE_ALREADY_EXISTS):
                raise

    def _find_run(self, experiment_id: str, run_id: str) -> str | None:
        runs = self._client.search_runs(
            [experiment_id],
            f"tags.`{RUN_TAG}` = '{run_id}'",
            max_results=1,
            # The second key decides between runs of the same millisecond, the same way for everybody.
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
        )
        return str(runs[0].info.run_id) if runs else None

    def _find_version(self, name: str, digest: str) -> ModelVersion | None:
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
        if not found:
            return None
        oldest = min(found, key=lambda v: int(v.version))
        # A search lists no aliases; the version by number does.
        return _version(self._client.get_model_version(name, oldest.version))


def flat_metrics(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Metrics by split as MLflow's flat names: `test/auc`."""
    return {f"{split}/{name}": float(v) for split, values in metrics.items() for name, v in values.items()}


def _version(version: Any) -> ModelVersion:
    return ModelVersion(
        name=str(version.name),
        version=str(version.version),
        bundle_digest=str(version.tags.get(DIGEST_TAG, "")),
        run_id=str(version.tags.get(RUN_TAG, "")),
        aliases=tuple(sorted(version.aliases)),
    )


def _name(name: str) -> str:
    return _NAME.sub("_", name)


def _text(value: object) -> str:
    return value if isinstance(value, str) else canonical.dumps(value).decode()


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise errors.InvalidRequest(
            f"`{digest}` is no bundle digest; expected `sha256:` and 64 hex digits", field="bundle_digest"
        )


def _check_run_id(run_id: str) -> None:
    # It goes into a filter string: a quote in it must not become syntax.
    if not _RUN_ID.fullmatch(run_id):
        raise errors.InvalidRequest(f"`{run_id}` is no run id; use letters, digits, `_.-`", field="run_id")


def _is(error: exceptions.MlflowException, code: databricks_pb2.ErrorCode.ValueType) -> bool:
    return bool(error.error_code == databricks_pb2.ErrorCode.Name(code))


@contextlib.contextmanager
def _mapped(resource: str = "mlflow object", name: str = "") -> Iterator[None]:
    try:
        yield
    except exceptions.MlflowException as error:
        text = str(error).splitlines()[0]
        if _is(error, databricks_pb2.RESOURCE_DOES_NOT_EXIST):
            raise errors.NotFound(
                f"no {resource} `{name}` in mlflow: {text}; register it first", resource=resource, name=name
            ) from error
        if _is(error, databricks_pb2.INVALID_PARAMETER_VALUE) or _is(error, databricks_pb2.BAD_REQUEST):
            raise errors.InvalidRequest(
                f"mlflow refused a value: {text}; correct it and call again"
            ) from error
        raise errors.DependencyDown(
            f"mlflow failed: {text}; check that it runs at `tracking.uri`", name="mlflow"
        ) from error
