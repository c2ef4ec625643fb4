"""Feature servers over HTTP: ours and `feast serve`, the same body, one connection each, their answers compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from mainspring.bench.features import servers
from mainspring.bench.native import contest

#: (rows, features) and at least so many times faster: through FastAPI, and what a front in C++ is to reach.
TARGETS: Final = {(1, 10): (4.0, 50.0), (32, 50): (60.0, 150.0)}

_WARM_UP: Final = 50


def builder(
    ours: servers.Connection, peer: servers.Connection, *, features: int, rows: int, entities: int
) -> Callable[[], contest.Contest]:
    """The contest of one body."""

    def build() -> contest.Contest:
        drivers = np.random.default_rng(rows).integers(0, entities, rows).tolist()
        body = servers.question(features, drivers)
        expected = servers.values_of(peer.ask(body))
        for _ in range(_WARM_UP):  # ours learns by measuring what it may do on its loop
            ours.ask(body)
            peer.ask(body)

        def is_same(got: bytes) -> str | None:
            return None if servers.values_of(got) == expected else "other values than feast serve"

        return contest.Contest(
            f"server/{features}f",
            rows,
            [
                contest.Contestant("mainspring", 1, lambda: ours.ask(body), is_same, is_ours=True),
                contest.Contestant("feast-serve-redis", 1, lambda: peer.ask(body), is_same),
            ],
        )

    return build


def judge(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two targets a body: that of FastAPI's route, and that of the native front, which is not built."""
    found = {r["name"]: r for r in results}
    goals = []
    for (rows, features), (python, native) in TARGETS.items():
        group = f"server/{features}f/{rows}/"
        ours, peer = (found.get(group + who, {}).get("value") for who in ("mainspring", "feast-serve-redis"))
        ratio = peer / ours if ours and peer else None
        for what, target in (("through FastAPI", python), ("over HTTP", native)):
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
            elif not ok and what == "over HTTP":
                goal["why"] = "Python's HTTP server is most of the call: this wants the front in C++"
            goals.append(goal)
    return goals
