"""From what is written to what is in force: every source once, every problem in one message."""

from __future__ import annotations

import difflib
import os
import tomllib
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.settings.control import (
    AuditSettings,
    ControlSettings,
    IdentitySettings,
    NotebookSettings,
    QuotaSettings,
    SecretSettings,
)
from mainspring.core.settings.cost import CostSettings
from mainspring.core.settings.group import Group
from mainspring.core.settings.serving import ServingSettings, StreamSettings
from mainspring.core.settings.watching import (
    LineageSettings,
    MonitorSettings,
    ProtectionSettings,
    TelemetrySettings,
)
from mainspring.core.settings.work import (
    ModelSettings,
    NativeSettings,
    RaySettings,
    StackSettings,
    TrackingSettings,
    WorkflowSettings,
)

PREFIX: Final = "MAINSPRING_"

#: Variables with our prefix that are not settings by name: read by the C++ dispatcher, by this module, by the local stack.
RESERVED: Final = frozenset(
    {"MAINSPRING_CONFIG", "MAINSPRING_FORCE_TARGET", "MAINSPRING_LOGS", "MAINSPRING_STACK_ID"}
)


class Settings(Group):
    """What is in force: complete, absolute paths, no Optionals."""

    stack: StackSettings
    control: ControlSettings
    identity: IdentitySettings
    serving: ServingSettings
    streams: StreamSettings
    workflow: WorkflowSettings
    ray: RaySettings
    tracking: TrackingSettings
    models: ModelSettings
    protection: ProtectionSettings
    secrets: SecretSettings
    audit: AuditSettings
    lineage: LineageSettings
    monitor: MonitorSettings
    telemetry: TelemetrySettings
    cost: CostSettings
    quotas: QuotaSettings
    notebooks: NotebookSettings
    native: NativeSettings

    @property
    def control_url(self) -> str:
        return self.control.url or f"http://{self.control.host}:{self.control.port}"

    @property
    def serving_url(self) -> str:
        scheme = "https" if self.serving.tls_certificate else "http"
        return f"{scheme}://{self.serving.host}:{self.serving.port}"


GROUPS: Final[Mapping[str, type[Group]]] = {
    "stack": StackSettings,
    "control": ControlSettings,
    "identity": IdentitySettings,
    "serving": ServingSettings,
    "streams": StreamSettings,
    "workflow": WorkflowSettings,
    "ray": RaySettings,
    "tracking": TrackingSettings,
    "models": ModelSettings,
    "protection": ProtectionSettings,
    "secrets": SecretSettings,
    "audit": AuditSettings,
    "lineage": LineageSettings,
    "monitor": MonitorSettings,
    "telemetry": TelemetrySettings,
    "cost": CostSettings,
    "quotas": QuotaSettings,
    "notebooks": NotebookSettings,
    "native": NativeSettings,
}
KEYS: Final = tuple(f"{group}.{name}" for group, model in GROUPS.items() for name in model.model_fields)

#: Paths that live under the state directory when they are not written anywhere.
_UNDER_STATE: Final = tuple(
    f"{group}.{name}"
    for group, model in GROUPS.items()
    for name, field in model.model_fields.items()
    if field.annotation is Path and group != "stack"
)


@dataclass(frozen=True)
class Written:
    """One source as it was found: `origin` for messages, `values` by dotted key."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Merged:
    """Later sources win; each key keeps the origin of its value."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]


def load(environ: Mapping[str, str] | None = None, *, directory: Path | None = None) -> Settings:
    """Read every source once and return what is in force.

    Errors: InvalidSettings with one line for each problem of any source.
    Threads: no shared state.
    """
    env = os.environ if environ is None else environ
    root = (directory or Path.cwd()).resolve()
    problems: list[str] = []
    written = [_read_opentelemetry(env), _read_file(env, root, problems), _read_environment(env, problems)]
    settings = _put_in_force(_merge(written), root, problems)
    if settings is None:
        raise errors.InvalidSettings(
            "settings are not usable: " + "; ".join(problems), problems=tuple(problems)
        )
    return settings


def to_environment(settings: Settings) -> dict[str, str]:
    """The settings as variables, so that a child process loads exactly what its parent has in force."""
    values = {
        f"{PREFIX}{group.upper()}_{name.upper()}": getattr(getattr(settings, group), name)
        for group, model in GROUPS.items()
        for name in model.model_fields
    }
    # What is not set has no words for it: a child that is told nothing has nothing, too.
    return {name: str(value) for name, value in values.items() if value is not None and str(value) != ""}


def child_environment(settings: Settings, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process of the same machine: ours without our settings, those in force, `extra`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    return {**inherited, **to_environment(settings), **extra}


def foreign_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that runs somebody's own code: ours without our settings and Ray's token, `extra`."""
    return {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "RAY_"))} | dict(extra)


def inherited_trace(environ: Mapping[str, str] | None = None) -> str:
    """The `traceparent` that whoever started this process put into its environment; empty: none."""
    return (os.environ if environ is None else environ).get("TRACEPARENT", "")


def variable(name: str) -> str | None:
    """A variable that a setting says to hold a secret (`env:NAME`); None where there is none."""
    return os.environ.get(name)


def _read_opentelemetry(env: Mapping[str, str]) -> Written:
    """OpenTelemetry's own variables, before ours. One that wants gRPC is for other programs: we speak HTTP."""
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    origin = "OTEL_EXPORTER_OTLP_*"
    if protocol == "grpc" or env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Written(origin, {})
    base = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    endpoint = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (f"{base}/v1/traces" if base else "")
    if not endpoint:
        return Written(origin, {})
    headers = env.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or env.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    said = {"telemetry.trace_endpoint": endpoint, "telemetry.trace_headers": urllib.parse.unquote(headers)}
    return Written(origin, said)


def _read_file(env: Mapping[str, str], root: Path, problems: list[str]) -> Written:
    named = env.get("MAINSPRING_CONFIG", "")
    path = root / named if named else root / "mainspring.toml"
    if not path.exists():
        if named:
            problems.append(
                f"MAINSPRING_CONFIG names `{named}`, which does not exist; create it or unset the variable"
            )
        return Written(str(path), {})
    try:
        document = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        problems.append(f"`{path.name}` cannot be read: {error}; correct the file")
        return Written(path.name, {})
    values: dict[str, Any] = {}
    for group, content in document.items():
        if not isinstance(content, dict):
            problems.append(
                f"`{group}` in `{path.name}` is not a table; write [{_nearest(group, tuple(GROUPS))}]"
            )
            continue
        for name, value in content.items():
            _accept(f"{group}.{name}", value, path.name, values, problems)
    return Written(path.name, values)


def _read_environment(env: Mapping[str, str], problems: list[str]) -> Written:
    names = {f"{PREFIX}{key.replace('.', '_').upper()}": key for key in KEYS}
    values: dict[str, Any] = {}
    for variable in sorted(v for v in env if v.startswith(PREFIX) and v not in RESERVED):
        if variable in names:
            values[names[variable]] = env[variable]
        else:
            problems.append(
                f"unknown setting `{variable}`; did you mean `{_nearest(variable, tuple(names))}`?"
            )
    if target := env.get("MAINSPRING_FORCE_TARGET", ""):
        values["native.force_target"] = target
    if form := env.get("MAINSPRING_LOGS", ""):
        values["telemetry.logs"] = form
    return Written("environment", values)


def _accept(key: str, value: Any, origin: str, values: dict[str, Any], problems: list[str]) -> None:
    if key in KEYS:
        values[key] = value
    else:
        problems.append(f"unknown setting `{key}` in `{origin}`; did you mean `{_nearest(key, KEYS)}`?")


def _nearest(name: str, known: tuple[str, ...]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _merge(written: list[Written]) -> Merged:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in written:
        values.update(source.values)
        origins.update(dict.fromkeys(source.values, source.origin))
    return Merged(values, origins)


def _put_in_force(merged: Merged, root: Path, problems: list[str]) -> Settings | None:
    groups: dict[str, Group] = {}
    for group, model in GROUPS.items():
        given = {k.split(".", 1)[1]: v for k, v in merged.values.items() if k.startswith(group + ".")}
        try:
            groups[group] = model.model_validate(given)
        except ValidationError as error:
            for e in error.errors():
                key = f"{group}.{'.'.join(str(p) for p in e['loc'])}"
                problems.append(
                    f"`{key}` from `{merged.origins.get(key, 'default')}`: {e['msg'].lower()}, got `{e['input']}`"
                )
    if problems:
        return None
    derived = _derive(groups, merged, root)
    return Settings.model_validate(
        {name: group.model_copy(update=derived.get(name, {})) for name, group in groups.items()}
    )


def _derive(groups: Mapping[str, Group], merged: Merged, root: Path) -> dict[str, dict[str, Any]]:
    """What follows from the state directory and the port base where nothing was written."""
    stack = groups["stack"]
    assert isinstance(stack, StackSettings)
    state = (root / stack.state_dir).resolve()
    base = stack.port_base
    unset: dict[str, Any] = {
        "control.port": base,
        "control.database_url": f"sqlite+aiosqlite:///{state / 'control.db'}",
        "serving.port": base + 1,
        "serving.grpc_port": base + 6,
        "workflow.address": f"127.0.0.1:{base + 2}",
        "workflow.claims": str(state / "claims"),
        "tracking.uri": f"http://127.0.0.1:{base + 4}",
        "ray.dashboard_url": f"http://127.0.0.1:{base + 5}",
    }
    derived: dict[str, dict[str, Any]] = {"stack": {"state_dir": state}}
    for key in _UNDER_STATE:
        group, name = key.split(".")
        path = getattr(groups[group], name)
        anchor = root if key in merged.values else state
        derived.setdefault(group, {})[name] = (anchor / path).resolve()
    told = groups["telemetry"]
    assert isinstance(told, TelemetrySettings)
    unset |= {"serving.trace_endpoint": told.trace_endpoint, "serving.trace_share": told.trace_share}
    if "serving.trace_endpoint" not in merged.values:
        # They may have a credential, which is for that endpoint and for no other.
        unset["serving.trace_headers"] = told.trace_headers
    control = groups["control"]
    assert isinstance(control, ControlSettings)
    if control.policies_dir is not None:
        derived["control"]["policies_dir"] = (root / control.policies_dir).resolve()
    for key, value in unset.items():
        group, name = key.split(".")
        if key not in merged.values:
            derived.setdefault(group, {})[name] = value
    return derived
