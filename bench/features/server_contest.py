"""Feature servers over HTTP: ours and `feast serve`, the same body, one connection each, their answers compared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from mainspring.bench.features import servers
from mainspring.bench.native import contest

#: (rows, features) and at least so many times faster: through FastAPI's route, and as it is shipped.
TARGETS: Final = {(1, 10): (4.0, 50.0), (32, 50): (60.0, 150.0)}

#: Our server's ways, and what each is called here; the first is how it is shipped.
OURS: Final = {"front": "mainspring", "asgi": "mainspring-asgi", "fastapi": "mainspring-fastapi"}

#: What is most of a call that misses its target.
_WHY: Final = {
    "through FastAPI": "FastAPI's own work on a request, before and after ours",
    "over HTTP": "two system calls each way, the wake-up between two processes, and the client's Python",
}

_WARM_UP: Final = 50


def builder(
    ours: Mapping[str, servers.Connection],
    peer: servers.Connection,
    *,
    features: int,
    rows: int,
    entities: int,
) -> Callable[[], contest.Contest]:
    """The contest of one body. `ours`: a connection for each way of :data:`OURS`."""

    def build() -> contest.Contest:
        drivers = np.random.default_rng(rows).integers(0, entities, rows).tolist()
        body = servers.question(features, drivers)
        expected = servers.values_of(peer.ask(body))
        for _ in range(_WARM_UP):  # ours learns by measuring what it may do on its loop
            for connection in (*ours.values(), peer):
                connection.ask(body)

        def is_same(got: bytes) -> str | None:
            return None if servers.values_of(got) == expected else "other values than feast serve"

        contestants = [
            contest.Contestant(name, 1, functools.partial(ours[way].ask, body), is_same, is_ours=True)
            for way, name in OURS.items()
        ]
        contestants.append(contest.Contestant("feast-serve-redis", 1, lambda: peer.ask(body), is_same))
        return contest.Contest(f"server/{features}f", rows, contestants)

    return build


def judge(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two targets a body: that of FastAPI's route, and that of the server as it is shipped, with the native front."""
    found = {r["name"]: r for r in results}
    goals = []
    for (rows, features), (python, native) in TARGETS.items():
        group = f"server/{features}f/{rows}/"
        for what, who, target in (
            ("through FastAPI", OURS["fastapi"], python),
            ("over HTTP", OURS["front"], native),
        ):
            ours, peer = (found.get(group + name, {}).get("value") for name in (who, "feast-serve-redis"))
            ratio = peer / ours if ours and peer else None
            ok = ratio is not None and ratio >= target
            goal = contest.goal(
                f"{rows} rows x {features} features {what}",
                ours,
                "us/row",
                ratio,
                "feast serve",
                target,
                ok=ok,
            )
            if ratio is None:
                goal["why"] = "no right answer from one of the two in this run"
            elif not ok:
                goal["why"] = _WHY[what]
            goals.append(goal)
    return goals
