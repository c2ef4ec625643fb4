"""Which runs are hit where: every plan is a kind of run, a victim, and the points at which it is killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from crash_boundaries import WORKER, Order
from crash_runs import CANCEL, DEPLOY, PARTS, TRAIN
from crash_world import DISK

SIDES = ("before", "after")


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run that is hit at each of its points in turn. `only`: words of which a point has one; points of a training's
    deployments are those of a deployment, and have plans of their own."""

    kind: str
    victim: str
    side: str
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.victim}-{self.side}"

    def order(self, points: Sequence[str]) -> Order:
        own = (p for p in points if not p.startswith("-"))
        chosen = (p for p in own if not self.only or any(word in p for word in self.only))
        return Order(self.victim, self.side, tuple(chosen))


_ALL = [
    *(Plan(DEPLOY, victim, side) for victim in (WORKER, *PARTS[DEPLOY]) for side in SIDES),
    # What is done on the way to the undo is hit above.
    *(
        Plan(CANCEL, victim, side, only=("restore_traffic", "report_event 1.2", "report_event 1.3"))
        for victim in (WORKER, *PARTS[DEPLOY])
        for side in SIDES
    ),
    *(Plan(TRAIN, victim, side) for victim in (WORKER, "temporal", "control") for side in SIDES),
    *(Plan(TRAIN, "mlflow", side, only=("register", "set_champion")) for side in SIDES),
    *(Plan(TRAIN, "ray", side, only=("training.train", "report_usage", "evaluate")) for side in SIDES),
    # Those that write where runs have their files.
    Plan(
        TRAIN, DISK, "before", only=("ingest", "features", "join", "leak_check", "fit_plan", "training.train")
    ),
]

PLANS = {plan.name: plan for plan in _ALL}
