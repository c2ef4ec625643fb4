#!/usr/bin/env python3
"""Writes the state of an installation, as a release leaves it, for every later release to open: `python make_state.py TREE OUT.tar.xz`.

TREE is a checkout of the release, whose packages are the ones that are imported; only what its public modules offer is used, so that
the same script makes the state of any release. What the state must answer is written into it (`expected.json`) by the release itself.
No private key is in it (`upgrade_state.write_audit_key`). Paths of TREE are, where a format has them: make it somewhere that tells nothing.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import upgrade_state  # beside this file
from litestar.testing import TestClient

from mainspring.core import canonical, identity, ports, settings
from mainspring.core.features import folders, lake, matching, online, segment_file, segments
from mainspring.platform import app as control_app
from mainspring.platform import migrations
from mainspring.platform.runs import launcher

ACTORS: Final = {
    name: identity.Actor(f"{name}@local", (name,))
    for name in ("developer", "approver", "service", "admin", "viewer")
}
NOW_US: Final = 1_385_900_000_000_000
VIEW: Final = ports.ViewSchema(
    name="origin_stats",
    join_keys=("origin", "flight"),
    fields=(
        ("mean_delay", "float32"), ("exact", "float64"), ("flights", "int64"), ("is_hub", "bool"), ("weather", "string"),
    ),
    ttl_seconds=7200.0,
)  # fmt: skip
#: What is asked of the online store: a row, one with nulls, one too old, one that there is not.
KEYS: Final = {"origin": ["JFK", "EWR", "LGA", "nowhere"], "flight": [1, 2, 3, 4]}
ORDER: Final = segment_file.Order(("origin",), "at", "created")
#: What bundles are asked.
COLUMNS: Final[dict[str, list[Any]]] = {
    "origin_stats__mean_delay": [1.5, None, -3.0],
    "distance_km": [200.0, 20.0, 1e6],
    "carrier": ["UA", "ZZ", "AA"],
}
#: What an admin asks of the control API.
ASKED: Final = {
    "projects": "/projects?limit=50",
    "runs": "/runs?limit=50",
    "costs": "/costs?group_by=project",
    "members": "/projects/alpha/members",
    "catalog": "/catalog?project=alpha",
    "audit": "/audit?limit=200",
    "endpoints": "/endpoints",
}
#: Keys of every group of settings that a team sets, of other values than the defaults.
SETTINGS: Final = """\
[stack]
port_base = 17700

[control]
access_hours = 4.0

[identity]
issuer = "https://login.example.org/realms/ml"
audience = "mainspring"
roles_claim = "realm_access.roles"

[serving]
workers = 4
log_predictions = 0.5
front = "auto"
require_token = true
trace_share = 0.25
response_cache_bytes = 1048576

[streams]
snapshot_seconds = 5.0

[workflow]
namespace = "ml"
encrypt_payloads = true

[ray]
train_workers = 3

[lineage]
transport = "file"

[cost]
currency = "EUR"
gpu_hour = 3.25
"""


def main(words: list[str]) -> int:
    if len(words) != 2:
        print(f"usage: {Path(__file__).name} TREE OUT.tar.xz", file=sys.stderr)
        return 2
    tree, target = Path(words[0]).resolve(), Path(words[1])
    sys.path[:0] = [str(tree / "serving" / "tests"), str(tree / "tests" / "replay")]
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        audit_key = upgrade_state.write_audit_key(home)
        expected: dict[str, Any] = {"revision": migrations.HEAD}
        for name, write in PARTS.items():
            expected[name] = write(home, tree)
        audit_key.unlink()
        (home / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True))
        target.write_bytes(packed(home))
    print(f"{target}: {target.stat().st_size} bytes, revision {migrations.HEAD}")
    return 0


def packed(home: Path) -> bytes:
    """Every file of the home with its mode; times and owners are of nobody."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:xz", preset=9) as archive:
        for path in sorted(p for p in home.rglob("*") if p.is_file()):
            entry = tarfile.TarInfo(path.relative_to(home).as_posix())
            entry.size, entry.mode = path.stat().st_size, path.stat().st_mode & 0o777
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return written.getvalue()


def control(home: Path, _tree: Path) -> dict[str, Any]:
    """Projects, members, runs that are under way, ended and refused, costs, access, catalog, lineage; asked over HTTP."""
    s = settings.load({}, directory=home)
    engine = launcher.MemoryLauncher()
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=engine)
    with TestClient(app, raise_server_exceptions=False) as client:

        def call(actor: str, method: str, path: str, expect: int, body: Any = None, **headers: str) -> Any:
            said = {"Authorization": f"Bearer {actor}", **headers}
            answer = client.request(method, f"/api/v1{path}", json=body, headers=said)
            assert answer.status_code == expect, (path, answer.status_code, answer.text)
            return answer.json()

        call("admin", "POST", "/projects", 201, {
            "name": "alpha", "owner": "team@example.org", "monthly_budget": 250.5, "description": "Vögel, 鳥 & 🐦",
        })  # fmt: skip
        call("admin", "POST", "/projects", 201, {"name": "beta", "owner": "others@example.org"})
        call("viewer", "POST", "/projects", 403, {"name": "gamma", "owner": "nobody@example.org"})
        for name, roles in (
            ("ana", {"dev": ["developer"]}),
            ("eva", {"*": ["viewer"], "prod": ["approver"]}),
        ):
            call("admin", "PUT", f"/projects/alpha/members/{name}", 200, {"roles": roles})
        _runs(call, engine)
        _costs(call)
        asked = call("developer", "POST", "/projects/alpha/access-requests", 201, {
            "role": "developer", "environment": "prod", "reason": "a stuck deployment",
        })  # fmt: skip
        call("approver", "POST", f"/projects/alpha/access-requests/{asked['request_id']}/decision", 200, {
            "approve": True, "reason": "agreed",
        })  # fmt: skip
        call("service", "PUT", "/catalog/alpha", 200, {"entries": [{
            "kind": "view", "name": "view.intake", "owner": "care", "description": "All of intake", "version": "v1",
            "columns": [{"name": "age", "dtype": "float32", "description": "In years"}],
        }]})  # fmt: skip
        found = {name: call("admin", "GET", path, 200) for name, path in ASKED.items()}
    found["requested"] = asked["request_id"]
    _in_one_file(home)
    return found


def _runs(call: Callable[..., Any], engine: launcher.MemoryLauncher) -> None:
    """One that ended and one that waits for somebody, one that nothing has been heard of, and one that was answered twice."""
    first = call(
        "developer",
        "POST",
        "/runs",
        201,
        {"project": "alpha", "endpoint": "delay", "idempotency_key": "first"},
    )
    for step, action in enumerate(("data.prepare", "model.register", "run.end")):
        call("service", "POST", f"/runs/{first['run_id']}/events", 201, {
            "event_key": f"{first['run_id']}:{step}", "run_id": first["run_id"], "action": action, "actor": "worker",
            "detail": {"stage": "done" if action == "run.end" else "register", "auc": 0.7112},
        })  # fmt: skip
    call("developer", "POST", "/runs", 201, {"project": "alpha", "environment": "dev"})
    body = {"project": "beta", "max_cost": 2.5}
    for _ in range(2):
        call("developer", "POST", "/runs", 201, body, **{"Idempotency-Key": "once-more"})
    call("viewer", "POST", "/runs", 403, {"project": "alpha"})


def _costs(call: Callable[..., Any]) -> None:
    for number, (project, sku, unit, quantity) in enumerate(
        (
            ("alpha", "gpu_hour", "gpu-hours", 1.25),
            ("alpha", "cpu_core_hour", "core-hours", 0.1),
            ("beta", "gpu_hour", "gpu-hours", 3),
        )
    ):
        call("service", "POST", "/usage", 201, {
            "usage_key": f"usage-{number}", "run_id": f"run-{number}", "project": project, "service": "ray-train", "sku": sku,
            "consumed_quantity": quantity, "consumed_unit": unit,
            "started_at": "2026-11-24T00:00:00Z", "ended_at": "2026-11-24T01:00:00Z",
        })  # fmt: skip
    call("service", "POST", "/serving-usage", 201, {"records": [{
        "usage_key": "serving-1", "project": "alpha", "endpoint": "delay", "model_version": canonical.digest("m"),
        "caller": "ana", "requests": 3, "predictions": 4096, "cpu_microseconds": 1_500_000,
        "started_at": "2026-11-24T00:00:00Z", "ended_at": "2026-11-24T00:01:00Z",
    }]})  # fmt: skip


def _in_one_file(home: Path) -> None:
    """As a process that was stopped leaves it: the log of SQLite is in the file."""
    import sqlite3

    connection = sqlite3.connect(home / ".mainspring" / "control.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def rows_online(home: Path, _tree: Path) -> dict[str, Any]:
    """A view with every type, written twice over, so that a log has rows that do not count any more."""
    with online.OnlineStore(home / "online") as store:
        store.register(VIEW)
        for hour in (9, 0):
            store.upsert(
                VIEW.name,
                {"origin": ["JFK", "EWR", "LGA"], "flight": [1, 2, 3]},
                event_us=np.int64([NOW_US - hour * 3_600_000_000, NOW_US, NOW_US - 9 * 3_600_000_000]),
                created_us=np.int64([NOW_US] * 3),
                columns={
                    "mean_delay": [hour + 0.1, None, 3.0],
                    "exact": [1 / 3, -0.0, None],
                    "flights": [hour, None, 1 << 62],
                    "is_hub": [True, None, False],
                    "weather": ["fög", None, "x" * 300],
                },
            )
        return answered(store)


def answered(store: online.OnlineStore) -> dict[str, Any]:
    rows = store.read(VIEW.name, KEYS, now_us=NOW_US)
    return {
        "status": rows.status.tolist(),
        "event_us": rows.event_us.tolist(),
        "values": {name: [bits(v) for v in values] for name, values in rows.values.items()},
        "valid": {name: valid.tolist() for name, valid in rows.valid.items()},
    }


def bits(value: Any) -> Any:
    """A float by its bits, which tell -0.0 and NaN apart; anything else as it is."""
    if isinstance(value, np.floating):
        return value.tobytes().hex()
    return value.item() if isinstance(value, np.generic) else value


def lake_rows() -> pl.DataFrame:
    times = pl.datetime_range(
        pl.datetime(2026, 1, 1), pl.datetime(2026, 1, 3), "30m", time_zone="UTC", eager=True
    )
    return pl.DataFrame({"at": times}).with_row_index("n").select(
        origin=pl.col("n").mod(3).replace_strict({0: "JFK", 1: "EWR", 2: None}, return_dtype=pl.String),
        at=pl.col("at").cast(pl.Datetime("us", "UTC")),
        created=pl.col("at").cast(pl.Datetime("us", "UTC")) + pl.duration(minutes=pl.col("n").mod(2) * 45),
        delay=pl.when(pl.col("n") % 7 > 0).then(pl.col("n").cast(pl.Float32) / 3),
    )  # fmt: skip


def lake_files(home: Path, _tree: Path) -> dict[str, Any]:
    """A folder that is named by its content, and sorted segments of it."""

    def write(folder: Path) -> dict[str, Any]:
        lake_rows().write_parquet(folder / "part-000.parquet")
        return {"rows": lake_rows().height}

    made = folders.publish(home / "lake", kind="facts", inputs={"of": "make_state"}, write=write)
    sorted_rows = segments.Segments(home / "segments", lake.Parquet(f"{home / 'lake'}/"), ORDER)
    sorted_rows.refresh()
    return {"digest": made.digest, "matched": matched(sorted_rows.current())}


def matched(found: segments.Current) -> list[Any]:
    """What each key was at some times, by what was known then."""
    asked = pl.DataFrame(
        {"origin": ["JFK", "EWR", "JFK", "nowhere"], "t": lake_rows()["at"].gather([10, 40, 95, 95])}
    )
    times = matching.Times("t", "at", "created", None, True)
    answers = found.match(asked, keys=["origin"], times=times, columns=["delay"])["delay"]
    return [None if v is None else float(v).hex() for v in answers]


def bundles(home: Path, _tree: Path) -> dict[str, Any]:
    """A signed bundle of each kind, and the scores of it."""
    import serving_bundles
    import serving_kinds

    (home / "models").mkdir()
    kept = serving_bundles.Home(home / "models")
    found = {}
    for kind, make in serving_kinds.MAKERS.items():
        digest = kept.write(**make().contents)
        found[kind] = {"digest": digest, "scores": scores(kept.loader.load(digest))}
        found[kind]["is_attested"] = any((home / "models" / "bundles").rglob("provenance.intoto.json"))
    (home / "models" / "signing.pem").unlink()  # who trusts needs the public half
    return found


def scores(loaded: Any) -> list[str]:
    columns = {
        name: np.array(values, object if name == "carrier" else np.float32)
        for name, values in COLUMNS.items()
    }
    return [bits(score) for score in loaded.runtime.predict(loaded.prepare(columns))]


def histories(home: Path, tree: Path) -> list[str]:
    """Of workflows that this release has run."""
    (home / "histories").mkdir()
    found = sorted((tree / "tests" / "replay" / "histories").glob("*.json"))
    for path in found:
        (home / "histories" / path.name).write_bytes(path.read_bytes())
    return [path.stem for path in found]


def settings_file(home: Path, _tree: Path) -> dict[str, Any]:
    """Written last: what is above is of an installation without one."""
    (home / "mainspring.toml").write_text(SETTINGS)
    loaded = settings.load({}, directory=home).model_dump(mode="json")
    return told(loaded, home)


def told(loaded: dict[str, Any], home: Path) -> dict[str, Any]:
    """Settings without the place that they lie at."""
    text: dict[str, Any] = json.loads(json.dumps(loaded).replace(str(home), "<home>"))
    return text


PARTS: Final[dict[str, Callable[[Path, Path], Any]]] = {
    "control": control,
    "online": rows_online,
    "lake": lake_files,
    "bundles": bundles,
    "histories": histories,
    "settings": settings_file,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
