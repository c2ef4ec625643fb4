"""What a step of ours costs beside a step of Temporal's that does nothing: same server, same run, turn by turn.

Ours has an encrypted message each way, a heartbeat timeout with a beating task, typed errors and the options of an exchange.
The worker has no interceptors, so there are none to measure.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import client as temporal
from temporalio.worker import Worker

from mainspring.bench.workflows import no_op, servers

__all__ = ["row"]


def row(*, steps: int, rounds: int) -> dict[str, Any]:
    """Medians over rounds of `steps` steps each; the ratio is of each round's pair."""
    with servers.running("temporal") as s:
        return asyncio.run(_measured(s, steps, rounds))


async def _measured(s: Any, steps: int, rounds: int) -> dict[str, Any]:
    ours = await servers.connected(s)
    bare = await temporal.Client.connect(
        s.workflow.address, namespace=s.workflow.namespace, runtime=ours.service_client.config.runtime
    )
    async with (
        Worker(bare, task_queue="bare", workflows=[no_op.Bare], activities=[no_op.bare_step]),
        Worker(ours, task_queue="ours", workflows=[no_op.Ours], activities=[no_op.our_step]),
    ):

        def run_bare(name: str) -> Awaitable[Any]:
            return bare.execute_workflow(no_op.Bare.run, steps, id=name, task_queue="bare")

        def run_ours(name: str) -> Awaitable[Any]:
            request = no_op.Rounds(run_id=name, steps=steps)
            return ours.execute_workflow(no_op.Ours.run, request, id=name, task_queue="ours")

        ways: dict[str, Callable[[str], Awaitable[Any]]] = {"bare": run_bare, "ours": run_ours}
        wall: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            # The first is a warm-up; the others begin in turn, so that neither always runs after the other.
            for name in sorted(ways, reverse=bool(number % 2)):
                began, used = time.perf_counter(), time.process_time()
                await ways[name](f"{name}-{number}-{secrets.token_hex(4)}")
                if number:
                    wall[name].append((time.perf_counter() - began) / steps * 1e3)
                    cpu[name].append((time.process_time() - used) / steps * 1e3)
        is_encrypted = await _is_encrypted(ours, bare)
    ratios = [a / b for a, b in zip(wall["ours"], wall["bare"], strict=True)]
    return {
        "name": "a step that does nothing",
        "correct": is_encrypted,
        "steps": steps * rounds,
        "ours_ms": statistics.median(wall["ours"]),
        "bare_ms": statistics.median(wall["bare"]),
        "ratio": statistics.median(ratios),
        "ratios": [min(ratios), max(ratios)],
        "ours_cpu_ms": statistics.median(cpu["ours"]),
        "bare_cpu_ms": statistics.median(cpu["bare"]),
    }


async def _is_encrypted(ours: temporal.Client, bare: temporal.Client) -> bool:
    """What is measured is what is claimed: Temporal holds no word of our message."""
    name = f"look-{secrets.token_hex(4)}"
    await ours.execute_workflow(
        no_op.Ours.run, no_op.Rounds(run_id=name, steps=1), id=name, task_queue="ours"
    )
    history = (await bare.get_workflow_handle(name).fetch_history()).to_json()
    return "binary/encrypted" not in history and '"YmluYXJ5L2VuY3J5cHRlZA=="' in history
