"""Requests that the API's description allows, that it does not, and that are nearly good ones; and what each did to the database.

The tenants' table has a good request for every route. One that is nearly good is such a request about names that are there, with what has
to be new made anew, and now and then something in it that is wrong: what is made of the description alone hardly gets past the door.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import hypothesis
import platform_tenants as tenants
import schemathesis
from hypothesis import strategies as st
from litestar.testing import TestClient

from mainspring.core import identity, ids, settings
from mainspring.platform import app as control_app
from mainspring.platform.audit import guards
from mainspring.platform.runs import launcher

#: Whoever may most, a process, and an admin of one project.
CALLERS: Final = ("root", "worker", "ana")

#: What processes put on record, by parts of paths.
FACTS: Final = ("/events", "usage", "report", "expire", "idle-events", "retentions", ":end")

#: Look at everything that is on record, or write a file of it: asked less often.
LONG: Final = {"policies:dry-run", "evidence", "keyset:change", "audit:verify", "audit:export"}

#: Parts of a good request that have to be new to change something, by their keys.
FRESH: Final[Mapping[str, Callable[[int], Any]]] = {
    "event_key": lambda n: f"event-{n}",
    "usage_key": lambda n: f"usage-{n}",
    "spend_key": lambda n: f"spend-of-{n}",
    "notebook_id": lambda n: ids.new_id("notebook"),
    "runId": lambda n: str(uuid.UUID(int=n)),
    "reason": lambda n: f"because of {n}",
    "description": lambda n: f"described {n} times",
    "owner": lambda n: f"owner-{n}",
    "key": lambda n: f"p-{n}",
    "cause": lambda n: f"cause {n}",
    "column": lambda n: ("mail", f"mail{n}")[n % 3 > 0],
    "epsilon": lambda n: 0.001 * (1 + n % 1000),
    "every_minutes": lambda n: 5 + n % 500,
    "recipient": lambda n: f"r{n}",
    "bundle_digest": lambda n: f"sha256:{n:064x}",
    "roles": lambda n: {
        ("dev", "staging", "prod", "*")[n % 4]: [("viewer", "developer", "approver")[n // 4 % 3]]
    },
}
#: Good bodies beside the table's, whose own would change nothing the second time.
MORE: Final[Mapping[str, Any]] = {
    "POST /projects": {"name": "made", "owner": "o"},
    "PUT /catalog/{}": {
        "entries": [{"kind": "view", "name": "{entry}", "owner": "o", "description": "what it is"}]
    },
    "POST /runs/{}/events": {
        "run_id": "{run_id}", "event_key": "k", "action": "model.register", "actor": "x", "detail": {"model": "m"},
    },
}  # fmt: skip
_WRONG: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.just({})
    | st.just([])
)


class Watched:
    """What became of each request: rows of the log, changes of tables, and changes without a row."""

    def __init__(self, file: Path) -> None:
        self._file = sqlite3.connect(file, isolation_level=None)
        self._file.execute("CREATE TABLE fuzz (changes INTEGER)")
        self._file.execute("INSERT INTO fuzz VALUES (0)")
        found = self._file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in found:
            if name in guards.UNGUARDED or name in ("fuzz", "sqlite_sequence"):
                continue
            for verb in ("INSERT", "UPDATE", "DELETE"):
                self._file.execute(
                    f"CREATE TRIGGER fuzz_{name}_{verb} AFTER {verb} ON {name} BEGIN UPDATE fuzz SET changes = changes + 1; END"
                )
        self.unaudited = 0
        self._last = self._look()

    def committed(self) -> bool:
        """Since it was asked last: is there a row on record of something that was not denied."""
        changes, rows, done = self._look()
        before, self._last = self._last, (changes, rows, done)
        self.unaudited += changes > before[0] and rows == before[1]
        return done > before[2]

    def drop_guards(self) -> None:
        """As the owner of the file could."""
        names = self._file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            if not name.startswith("fuzz_"):
                self._file.execute(f"DROP TRIGGER {name}")

    def _look(self) -> tuple[int, int, int]:
        row = self._file.execute(
            "SELECT (SELECT changes FROM fuzz), (SELECT coalesce(max(sequence), 0) FROM audit),"
            " (SELECT count(*) FROM audit WHERE outcome <> 'denied')"
        ).fetchone()
        return int(row[0]), int(row[1]), int(row[2])


@dataclass
class Found:
    """What came of a run. `commits` by operation: requests that changed something, on record."""

    asked: int = 0
    commits: dict[str, int] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    unaudited: int = 0

    @property
    def committed(self) -> int:
        return sum(self.commits.values())


class Fuzz:
    """Asks every operation of one application with two tenants in it."""

    def __init__(self, client: TestClient[Any], s: settings.Settings) -> None:
        self.world = tenants.World(client, s.stack.state_dir)
        self.watched = Watched(Path(s.control.database_url.partition("///")[2]))
        schema = client.get("/schema/openapi.json").raise_for_status().json()
        config = schemathesis.Config.from_dict({"base-url": "http://testserver"})
        self._api = schemathesis.openapi.from_dict(schema, config=config)
        self._good: dict[str, list[Any]] = {}
        for asked in tenants.REQUESTS:
            if asked.method != "GET":
                self._good.setdefault(_shape(asked.method, asked.path), []).append(asked.body)
        for shape, body in MORE.items():
            self._good[shape] = [body, *self._good.get(shape, [])]
        self._numbers = itertools.count(1)

    def run(self, *, generated: int, near: int, only: str = "") -> Found:
        """Of each operation so many that are allowed, as many that are not (none if it is one), and `near` that are nearly good; `only` paths with this in them."""
        found = Found()
        for one in self._api.get_all_operations():
            operation = one.ok()
            label = f"{operation.method.upper()} {operation.path}"
            if only not in label:
                continue
            found.commits.setdefault(label, 0)
            is_long = any(word in label for word in LONG)
            modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
            for mode in modes[:generated]:  # to make one of a kind takes longest
                self._ask(operation, label, found, 1 if is_long else generated, mode)
            if not label.startswith("GET "):
                self._ask(operation, label, found, min(near, 4) if is_long else near, None)
        found.unaudited = self.watched.unaudited
        return found

    def _ask(
        self,
        operation: Any,
        label: str,
        found: Found,
        examples: int,
        mode: schemathesis.GenerationMode | None,
    ) -> None:
        """`mode` None: nearly good ones, which are asked by whoever may most of the time, and of the version that is there."""
        bodies = self._good.get(_shape(operation.method, operation.path), [None])
        strategy = st.none() if mode is None else operation.as_strategy(generation_mode=mode)

        @hypothesis.given(strategy, st.data())
        @hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        def ask(case: Any, data: st.DataObject) -> None:
            if mode is None:
                n = next(self._numbers)
                body = _freshened(self.world.theirs.fill(data.draw(st.sampled_from(bodies))), n)
                # One in eight has something in it that is wrong.
                if isinstance(body, dict) and body and data.draw(st.integers(0, 7)) == 7:
                    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(_WRONG)
                headers = {"If-Match": "*"} if n % 3 else {}
                parameters = dict.fromkeys(re.findall(r"{(\w+)}", operation.path), "x")
                kind = {} if body is None else {"body": body, "media_type": "application/json"}
                case = operation.Case(path_parameters=parameters, headers=headers, query={}, **kind)
            if mode is None or (mode is schemathesis.GenerationMode.POSITIVE and data.draw(st.booleans())):
                self._name(case, operation.path)
            if "/events" in operation.path and label.startswith("GET"):
                case.query["until_idle"] = "true"  # it goes on for ever otherwise
            first = "worker" if any(word in label for word in FACTS) else "root"
            callers = (first, first, first, *CALLERS) if mode is None else CALLERS
            self._send(case, label, found, data.draw(st.sampled_from(callers)))

        with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing of this operation can be wrong
            ask()

    def _name(self, case: Any, path: str) -> None:
        names, n = self.world.theirs, next(self._numbers)
        first = path.removeprefix("/api/v1/").removeprefix("/v1/").partition("/")[0]
        known = {
            "project": names.project,
            "actor": (names.actor, f"member-{n}")[n % 2],
            "run_id": names.run_id,
            "request_id": names.access,
            "process": "skew",
            "digest": names.plain_pack if "pipelines" in path else tenants.DIGEST,
            "dataset": names.entry,
            "erasure_id": names.erasure,
            "alert_id": names.alert,
            "change_id": "rotate-1",
            "name": {"projects": names.project, "endpoints": f"e-{names.project}", "quarantine": names.batch}.get(
                first, names.entry
            ),
        }  # fmt: skip
        for name in set(case.path_parameters) & set(known):
            case.path_parameters[name] = known[name]

    def _send(self, case: Any, label: str, found: Found, caller: str) -> None:
        asked = case.as_transport_kwargs(base_url="http://testserver")
        content = {"content": asked["data"]} if isinstance(asked.get("data"), (bytes, str)) else {}
        headers = {k: v for k, v in dict(asked.get("headers") or {}).items() if k.lower() != "authorization"}
        answer = self.world.client.request(
            asked["method"],
            asked["url"],
            params=asked.get("params"),
            headers={**headers, "Authorization": f"Bearer {caller}"},
            **({"json": asked["json"]} if "json" in asked else content),
        )
        found.asked += 1
        found.statuses.add(answer.status_code)
        found.commits[label] += self.watched.committed() and answer.is_success
        # What is asked of a system that is not here is told to be down.
        if answer.status_code >= 500 and answer.status_code not in (503, 504):
            found.failures.append(f"{label} as {caller}: {answer.status_code} {answer.text[:300]} {asked}")


def _freshened(value: Any, n: int) -> Any:
    if isinstance(value, dict):
        made = {k: FRESH[k](n) if k in FRESH else _freshened(v, n) for k, v in value.items()}
        return {**made, "name": f"made-{n}"} if made.get("name") == "made" else made
    return [_freshened(v, n) for v in value] if isinstance(value, list) else value


def _shape(method: str, path: str) -> str:
    """Without version and names: the same for the table's paths and the description's."""
    bare = re.sub(r"{\w+}", "{}", path.removeprefix("/api").removeprefix("/v1"))
    return f"{method.upper()} {bare.replace('/skew', '/{}').replace('rotate-{}', '{}').replace('e-{}', '{}')}"


@contextmanager
def started(directory: Path, *more: Any) -> Iterator[Fuzz]:
    """Over a fresh SQLite file; `more` handlers beside the API's own."""
    s = settings.load({}, directory=directory)
    app = control_app.create_app(
        s, issuer=identity.TokenIssuer(tenants.ACTORS), launcher=launcher.MemoryLauncher()
    )
    for handler in more:
        app.register(handler)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Fuzz(client, s)
