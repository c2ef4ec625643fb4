"""Who runs the plan CTR-48: ours by each of its entries, and the peers of `ctr48_peers`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mainspring.bench.native import cases, ctr48, ctr48_goals, ctr48_peers
from mainspring.bench.native.contest import Contest, Contestant
from mainspring.native import program, targets

#: How many rows of a large batch are compared with the reference: it is slow, and rows do not depend on one another.
CHECKED_ROWS = 2048
#: From here on a second thread joins in.
THREADED_ROWS = 4096
OUR_BOUND, PEER_BOUND = 2e-6, 2e-5
N_IDS = 32
#: Ids that do not rest on a hash: vocabularies and boundaries.
PLAIN_IDS = slice(ctr48.N_HASHES, N_IDS - ctr48.N_CROSSES)


def contest(rows: int, *, quick: bool = False) -> Contest:
    """Ours first: the buffers bound once for a batch, a packed row for one row. Quick: nobody who has no target."""
    plan = ctr48.make_plan()
    batch = ctr48.make_batch(plan, rows)
    check = _Checker(plan, batch)
    ours = [*(_rows(plan, check) if rows == 1 else []), *_batches(plan, batch, check, quick=quick)]
    return Contest(
        "ctr48",
        rows,
        ours + ctr48_peers.contestants(plan, batch, check.peer, check.without_hashes, quick=quick),
    )


def contests(*, quick: bool) -> list[Callable[[], Contest]]:
    """One row, 64, 4,096, and a large batch."""
    rows = cases.QUICK_ROWS if quick else cases.ROWS
    return [functools.partial(contest, n, quick=quick) for n in rows]


def judge(results: Iterable[dict[str, Any]], *, quick: bool) -> list[dict[str, Any]]:
    """The targets of issue 3 for this plan."""
    return ctr48_goals.judge(results, large=(cases.QUICK_ROWS if quick else cases.ROWS)[-1])


class _Checker:
    """Compares the first rows of an answer (dense, ids) with the reference."""

    def __init__(self, plan: ctr48.Plan, batch: ctr48.Batch) -> None:
        self.plan = plan
        self.rows = min(batch.rows, CHECKED_ROWS)
        self.dense, self.ids = ctr48.expected(plan, batch.head(self.rows))

    def ours(self, got: Any) -> str | None:
        return self._compare(got, slice(None), OUR_BOUND)

    def peer(self, got: Any) -> str | None:
        return self._compare(got, slice(None), PEER_BOUND)

    def without_hashes(self, got: Any) -> str | None:
        """For peers with a hash of their own: its ids must be in range, and 0 exactly where ours are."""
        _, ids = got
        hashed = np.delete(ids[:, : self.rows], PLAIN_IDS, axis=0)
        want = np.delete(self.ids, PLAIN_IDS, axis=0)
        if ((hashed == 0) != (want == 0)).any() or hashed.min() < 0 or hashed.max() >= ctr48.BUCKETS:
            return "hashed ids are out of range, or missing where they should not be"
        return self._compare(got, PLAIN_IDS, PEER_BOUND)

    def _compare(self, got: Any, which: slice, bound: float) -> str | None:
        dense, ids = got
        width = dense.shape[1]  # a peer without windows has 13 columns
        if not np.array_equal(ids[which, : self.rows], self.ids[which]):
            return "ids differ from the reference"
        want = self.dense[:, :width]
        excess = np.abs(dense[: self.rows] - want) - bound * (1 + np.abs(want) / 2)
        if width not in (13, 16) or not (excess <= 0).all():
            return f"dense differs from the reference by up to {np.abs(dense[: self.rows] - want).max():.2e}"
        return None


def _batches(plan: ctr48.Plan, batch: ctr48.Batch, check: _Checker, *, quick: bool) -> list[Contestant]:
    made: list[Contestant] = []
    shared: list[Contestant] = []
    forced = targets.in_force()
    columns = batch.columns
    others = [] if quick else [t for t in reversed(targets.available()) if t != forced]
    for target in (forced, *others):
        compiled = program.Program(plan.spec, target=target)
        bound = compiled.bind(columns)

        def run(bound: program.Bound = bound) -> program.Outputs:
            bound.run(batch.rows)
            return bound.outputs

        if target == forced and batch.rows >= THREADED_ROWS:
            both = compiled.bind(columns, threads=2)

            def run_both(both: program.Bound = both) -> program.Outputs:
                both.run(batch.rows)
                return both.outputs

            shared.append(Contestant("mainspring-2-threads", 2, run_both, check.ours, is_ours=True))

        name = "mainspring" if target == forced else f"mainspring-{target}"
        made.append(Contestant(name, 1, run, check.ours, is_ours=True))
        if target == forced:
            out = compiled.run(columns)
            made.append(
                Contestant(
                    "mainspring-columns", 1, lambda c=compiled, o=out: c.run(columns, o), check.ours, is_ours=True,
                    note="42 arrays checked in each call",
                )
            )  # fmt: skip
    return made + shared


#: Different rows in turn, so that no branch and no cache line is learned by heart.
SINGLE_ROWS = 64


def _rows(plan: ctr48.Plan, check: _Checker) -> list[Contestant]:
    compiled = program.Program(plan.spec)
    row = compiled.row()
    many = ctr48.make_batch(plan, SINGLE_ROWS)
    fields = [many.fields(i) for i in range(SINGLE_ROWS)]
    packed = [compiled.pack(f) for f in fields]
    want = compiled.run(many.columns)
    run_packed, run_fields = row.run_packed, row.run_fields

    def answers(run: Callable[[], None]) -> Callable[[Any], str | None]:
        def check_each(_: Any) -> str | None:
            for i in range(SINGLE_ROWS):
                run(i)  # type: ignore[call-arg]
                if (
                    row.dense.tobytes() != want.dense[i : i + 1].tobytes()
                    or (row.ids[:, 0] != want.ids[:, i]).any()
                ):
                    return f"row {i} differs from itself in a batch"
            return None

        return check_each

    def all_packed() -> None:
        for one in packed:
            run_packed(one)

    def all_fields() -> None:
        for one in fields:
            run_fields(one)

    del check
    return [
        Contestant(
            "mainspring-packed", 1, all_packed, answers(lambda i: run_packed(packed[i])), is_ours=True,  # type: ignore[arg-type]
            rows_per_call=SINGLE_ROWS, note="bytes of one row, 64 rows in turn; the loop of Python is in",
        ),
        Contestant(
            "mainspring-dict", 1, all_fields, answers(lambda i: run_fields(fields[i])), is_ours=True,  # type: ignore[arg-type]
            rows_per_call=SINGLE_ROWS, note="a dict of 41 fields, 64 rows in turn",
        ),
    ]  # fmt: skip
