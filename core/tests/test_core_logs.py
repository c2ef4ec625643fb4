"""Log lines in ECS's words: what each has, what is left out of it, and that it is one line whatever it says."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from mainspring.core import errors, logs, settings, traces

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Kept(list[traces.Span]):
    def add(self, one: traces.Span) -> None:
        self.append(one)


#: Those of Elastic's schema (8.17) that we write, with the types that its index has.
SCHEMA: Mapping[str, type | tuple[type, ...]] = {
    "@timestamp": str,
    "log.level": str,
    "log.logger": str,
    "message": str,
    "ecs.version": str,
    "service.name": str,
    "service.version": str,
    "process.pid": int,
    "trace.id": str,
    "span.id": str,
    "error.type": str,
    "error.message": str,
    "error.stack_trace": str,
    "error.code": str,
    "event.kind": str,
    "event.category": list,
    "event.dataset": str,
    "event.outcome": str,
    "event.duration": int,
    "http.request.method": str,
    "http.response.status_code": int,
    "url.path": str,
}


def line(
    message: str, *args: object, labels: logs.Labels = dict, error: BaseException | None = None, **fields: Any
) -> Any:
    kind: tuple[type[BaseException], BaseException, TracebackType | None] | None = None
    if error is not None:
        kind = (type(error), error, error.__traceback__)
    record = logging.LogRecord("a.b", logging.ERROR, "f", 1, message, args, kind)
    record.created, record.msecs = 1_796_000_000.25, 250.0
    record.fields = fields
    text = logs.EcsLines("mainspring-x", "1.2", labels).format(record)
    assert "\n" not in text
    found = json.loads(text)
    for name, value in found.items():
        assert name.startswith("labels.") or isinstance(value, SCHEMA[name]), name
    return found


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - it has its stack then
        return caught


def test_a_line_says_when_where_and_what() -> None:
    found = line("x %s", "y\nz", labels=lambda: {"run_id": "run_1"}, **{"event.duration": 5, "caller": "ana"})
    assert found == {
        "@timestamp": datetime.fromtimestamp(1_796_000_000.25, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "log.level": "error",
        "message": "x y\nz",
        "log.logger": "a.b",
        "ecs.version": "8.17.0",
        "service.name": "mainspring-x",
        "service.version": "1.2",
        "process.pid": found["process.pid"],
        "labels.run_id": "run_1",
        "labels.caller": "ana",
        "event.duration": 5,
    }


def test_an_error_has_its_kind_its_words_and_its_stack() -> None:
    found = line("bad", error=raised(ValueError("two\nlines")))
    assert (found["error.type"], found["error.message"]) == ("ValueError", "two\nlines")
    assert "in raised" in found["error.stack_trace"] and "error.code" not in found
    ours = line("bad", error=raised(errors.NotFound("no run `x`; look", resource="run", name="x")))
    assert (ours["error.type"], ours["error.code"]) == ("NotFound", "not_found")


def test_a_line_has_the_trace_at_work_and_a_span_where_there_is_one() -> None:
    def within() -> None:
        header = f"00-{TRACE}-{PARENT}-01"
        traces.Tracer(None, 1.0).begin(header)
        found = line("x")
        assert found["trace.id"] == TRACE and "span.id" not in found
        traces.Tracer(Kept(), 1.0).begin(header)
        assert line("x")["span.id"] == traces.read(traces.outgoing())[1]

    contextvars.copy_context().run(within)
    assert "trace.id" not in line("x")


SECRETS = {
    "Authorization: Bearer abc.def-ghi": "abc.def-ghi",
    "authorization: Basic dXNlcjpwYXNz": "dXNlcjpwYXNz",
    "key msk_a1b2_c3d4e5f6 is refused": "c3d4e5f6",
    "postgresql://app:hunter2@db/x does not answer": "hunter2",
    "smtp password='hunter2' is wrong": "hunter2",
    '{"api_key": "hunter2", "x": 1}': "hunter2",
    "aws_secret_access_key=hunter2 region=x": "hunter2",
    "got token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln of ana": "eyJzdWIiOiJhIn0",
    "-----BEGIN PRIVATE KEY-----\nMIIhunter2\n-----END PRIVATE KEY-----": "hunter2",
}


@pytest.mark.parametrize("text", SECRETS, ids=range(len(SECRETS)))
def test_what_looks_like_a_credential_is_in_no_part_of_a_line(text: str) -> None:
    secret = SECRETS[text]
    for found in (
        line("%s", text),
        line(text.replace("%", "")),
        line("x", error=raised(ValueError(text))),
        line("x", why=text),
    ):
        assert secret not in json.dumps(found) and logs.HIDDEN in json.dumps(found)
    record = logging.LogRecord("a", logging.INFO, "f", 1, "%s", (text,), None)
    assert secret not in logs.TextLines().format(record)


@pytest.mark.parametrize(
    "text",
    [
        "idempotency key: key_01 of run `run_01` is taken; use a fresh one",
        "no Ray token `auth_token`; run `mainspring up`, which writes it, or set `ray.token_file`",
        "http://127.0.0.1:7700/api/v1/runs?before=run_1 answered 200 to ana@example.org",
        "tokens of a text model: 5",
    ],
)
def test_what_only_speaks_of_credentials_is_left_as_it_is(text: str) -> None:
    assert logs.redacted(text) == text


def test_a_long_word_takes_as_long_as_it_is() -> None:
    """A pattern that began anew at each of its letters took 6 s for 9,000 of them, of whoever logs one."""
    word = "x" * 300_000
    assert logs.redacted(word) == word
    assert logs.redacted(f"{word}-password=hunter2") == f"{word}-password={logs.HIDDEN}"


def test_a_process_writes_what_its_settings_say(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.install("json", "mainspring-x", "1")
        assert logging.getLogger("httpx").level == logging.WARNING
        logging.getLogger("a").info("hello %s", {"odd": object})
        logs.install("text", "mainspring-x", "1")
        logging.getLogger("a").info("hello")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    first, second = capsys.readouterr().err.splitlines()
    assert json.loads(first)["service.name"] == "mainspring-x"
    assert second.endswith("INFO a hello")
    assert sys.stderr is not None


def test_a_line_is_read_back_for_people() -> None:
    def written(error: BaseException | None) -> str:
        return json.dumps(line("it ended", error=error))

    assert logs.message_of(written(None)) == "it ended"
    assert logs.message_of(written(raised(OSError("no room")))) == "it ended: no room"
    for other in ("Traceback: x", "[1]", '{"a": 1}', ""):
        assert logs.message_of(other) == other


def test_the_form_has_a_short_name_that_processes_hand_on(tmp_path: Path) -> None:
    found = settings.load({"MAINSPRING_LOGS": "text"}, directory=tmp_path)
    assert found.telemetry.logs == "text" and settings.load({}, directory=tmp_path).telemetry.logs == "json"
    assert settings.load(settings.to_environment(found), directory=tmp_path) == found
    with pytest.raises(errors.InvalidSettings, match=r"`telemetry\.logs` from `environment`.*got `xml`"):
        settings.load({"MAINSPRING_LOGS": "xml"}, directory=tmp_path)
