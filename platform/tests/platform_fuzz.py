"""Sends what schemathesis makes of the control API's description, and looks at what came of it in the database."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import quote

import hypothesis
import platform_commits as commits
import schemathesis
import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy import event

from mainspring.platform.audit import guards

CHANGING: Final = {"POST", "PUT", "PATCH", "DELETE"}
ALLOWED: Final = schemathesis.GenerationMode.POSITIVE
NOT_ALLOWED: Final = schemathesis.GenerationMode.NEGATIVE
#: Who asks: who may, and others who may not. "" is nobody.
OTHERS: Final = ("root", "worker", "ana", "vic", "eva", "")
#: These ask serving, and there is none here.
OF_SERVING: Final = ("/live", "/predict", "/explain", "/logs")
#: Answers that go on until somebody hangs up, unless they are asked not to.
STREAMS: Final = "/events"
#: Tasks of the control API that change things on their own account.
_BACKGROUND: Final = {"recovery", "checkpoints", "access", "alerts", "policies"}
#: Of what takes a tenth of a second: an evidence pack is written, and policies are parsed and tried. An eighth of the requests has to do.
_COSTLY: Final = {"POST /projects/{}/evidence", "POST /policies:dry-run"}
_WRITES: Final = re.compile(r'\s*(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM)\s+"?(\w+)', re.IGNORECASE)


class Witness:
    """What each committed transaction wrote, seen from beside the platform and its triggers."""

    def __init__(self) -> None:
        self.audited = 0
        """Committed transactions with a row of the log, of requests alone."""
        self.changed = 0
        """Those that changed anything else, too."""
        self.unaudited: list[set[str]] = []
        """Tables of transactions that changed something and have none."""

    def _wrote(self, connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        found = _WRITES.match(statement)
        if found and cursor.rowcount != 0:
            connection.info.setdefault("wrote", set()).add(found[1])

    def _committed(self, connection: sa.Connection) -> None:
        wrote = connection.info.pop("wrote", set())
        changed = wrote - set(guards.UNGUARDED)
        if changed and "audit" not in wrote:
            self.unaudited.append(changed)
        if "audit" in wrote and not _is_background():
            self.audited += 1
            self.changed += bool(changed)

    def _rolled_back(self, connection: sa.Connection) -> None:
        connection.info.pop("wrote", None)


@contextmanager
def witness() -> Iterator[Witness]:
    """Of every engine there is meanwhile."""
    made = Witness()
    heard = (
        ("after_cursor_execute", made._wrote),
        ("commit", made._committed),
        ("rollback", made._rolled_back),
    )
    for name, listener in heard:
        event.listen(sa.Engine, name, listener)
    try:
        yield made
    finally:
        for name, listener in heard:
            event.remove(sa.Engine, name, listener)


def _is_background() -> bool:
    task = asyncio.current_task()
    return task is not None and task.get_name() in _BACKGROUND


Kind: TypeAlias = Literal["broke", "no problem told", "off the record", "by nobody", "twice"]


@dataclass(frozen=True)
class Fault:
    """What should not be. `by nobody`: a change by whom nobody knows, or by a look."""

    kind: Kind
    operation: str
    told: str


class Fuzz:
    """Generated requests to one house. Faults are gathered, not raised: what is asked depends on what was changed before."""

    def __init__(self, house: commits.House, seen: Witness) -> None:
        self.house, self.seen = house, seen
        self.faults: list[Fault] = []
        self.committed: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        # Not drawn: of a few examples the first is always the simplest.
        self._turns = itertools.cycle(OTHERS)
        document = house.client.get("/schema/openapi.json").json()
        api = schemathesis.openapi.from_dict(document)
        self.operations = [result.ok() for result in api.get_all_operations()]

    def changing(self) -> set[str]:
        """What changes something, of the operations that are asked."""
        return {commits.shape(o.label) for o in self.operations if o.method.upper() in CHANGING}

    def ask_all(self, *, near: int, by_schema: int, each: int = 1) -> None:
        """Each operation: requests near one that is taken, and such as the description allows and does not.

        What is generated for one near goes into `each` requests: to make it takes longer than to send it.
        """
        for operation in self.operations:
            is_change = operation.method.upper() in CHANGING
            if is_change:
                self._given(operation, ALLOWED, near, functools.partial(self._near, each))
            self._given(operation, ALLOWED, by_schema, self._by_schema)
            if is_change or by_schema > 2:  # what makes wrong ones takes longest, and looks are many
                self._given(operation, NOT_ALLOWED, by_schema, self._by_schema)

    def _given(self, operation: Any, mode: Any, count: int, ask: Any) -> None:
        @hypothesis.given(operation.as_strategy(generation_mode=mode), st.data())
        @hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        def one(case: Any, data: st.DataObject) -> None:
            ask(operation, case, data)

        with suppress(hypothesis.errors.Unsatisfiable):  # nothing of this operation can be wrong
            one()

    def _near(self, each: int, operation: Any, case: Any, data: st.DataObject) -> None:
        shape = commits.shape(operation.label)
        recipe = commits.TAKEN.get(shape)
        if recipe is None:
            return
        for _ in range(-(-each // 8) if shape in _COSTLY else each):
            self._near_once(recipe, operation, case, data)

    def _near_once(self, recipe: Any, operation: Any, case: Any, data: st.DataObject) -> None:
        """One that is taken, as it is or with some of its fields as they were generated."""
        taken = recipe(self.house, self.house.mark())
        body = taken.body
        if isinstance(body, dict) and isinstance(case.body, dict) and data.draw(st.booleans()):
            drawn = data.draw(st.sets(st.sampled_from(sorted(case.body)), max_size=2)) if case.body else ()
            body = {**body, **{name: case.body[name] for name in drawn}}
        headers = dict(taken.headers)
        if data.draw(st.booleans()):
            headers["Idempotency-Key"] = self.house.mark()
        answer = self._send(operation, taken.who, _path(operation, taken.names), body, headers)
        is_kept = "no-store" not in answer.headers.get("cache-control", "")
        if answer.is_success and is_kept and "Idempotency-Key" in headers:
            self._again(operation, taken, body, headers, answer)

    def _again(self, operation: Any, taken: commits.Taken, body: Any, headers: Any, first: Any) -> None:
        before = self.seen.audited
        again = self._send(operation, taken.who, _path(operation, taken.names), body, headers)
        if self.seen.audited != before or again.content != first.content:
            self.faults.append(
                Fault("twice", operation.label, f"{first.text:.600} and then {again.text:.600}")
            )

    def _by_schema(self, operation: Any, case: Any, data: st.DataObject) -> None:
        """As it was generated, with names that are there in half of the cases."""
        names = dict(case.path_parameters or {})
        if data.draw(st.booleans()):
            names |= {n: v for n, v in NAMES.items() if n in names}
        headers = {
            str(k): str(v) for k, v in (case.headers or {}).items() if str(k).lower() != "authorization"
        }
        headers = {k: v for k, v in headers.items() if v.isprintable() and v.isascii()}
        query = {str(k): v for k, v in (case.query or {}).items()}
        if operation.path.endswith(STREAMS):
            query |= {"until_idle": "true"}
        body = None if isinstance(case.body, schemathesis.core.NotSet) else case.body
        who = next(self._turns)
        self._send(operation, who, _path(operation, names), body, headers, query)

    def send(self, operation: Any, taken: commits.Taken, document: bytes) -> Any:
        """Bytes in the place of the body of a request that is taken."""
        return self._send(operation, taken.who, _path(operation, taken.names), document, dict(taken.headers))

    def _send(
        self, operation: Any, who: str, path: str, body: Any, headers: dict[str, str], query: Any = None
    ) -> Any:
        sent = {**headers, **({"Authorization": f"Bearer {who}"} if who else {})}
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body, default=str).encode()
            sent.setdefault("Content-Type", "application/json")
        audited, unaudited, changed = self.seen.audited, len(self.seen.unaudited), self.seen.changed
        method = operation.method.upper()
        answer = self.house.client.request(method, path, content=content, params=query, headers=sent)
        self.statuses[answer.status_code] += 1
        told = f"{answer.request.url} by `{who}`, {content!r:.600}: {answer.status_code} {answer.text:.600}"
        is_without_serving = answer.status_code == 503 and operation.path.endswith(OF_SERVING)
        found: dict[Kind, bool] = {
            "broke": answer.status_code >= 500 and not is_without_serving,
            "no problem told": answer.status_code >= 400
            and "problem+json" not in answer.headers.get("content-type", ""),
            "off the record": len(self.seen.unaudited) > unaudited,
            "by nobody": self.seen.changed > changed and (method not in CHANGING or not who),
        }
        self.faults += [Fault(kind, operation.label, told) for kind, is_so in found.items() if is_so]
        if answer.is_success and self.seen.audited > audited:
            self.committed[commits.shape(operation.label)] += 1
        return answer


#: Names that are there, so that not every path ends in 404.
NAMES: Final = {
    "project": commits.PROJECT,
    "name": commits.PROJECT,
    "actor": "vic",
    "process": "skew",
    "namespace": commits.PROJECT,
    "question": "view.one:upstream",
    "change_id": "rotate-bundles",
}


def _path(operation: Any, names: Any) -> str:
    path: str = operation.path
    for name, value in names.items():
        # A dot segment is gone before it is sent.
        shown = quote(str(value), safe="") or "%20"
        path = path.replace(f"{{{name}}}", "%2E" if shown in (".", "..") else shown)
    return path
