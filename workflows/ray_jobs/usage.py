"""What a Ray job used, as it is metered and paid: core-hours and memory of the run that asked for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Protocol

from mainspring.core.contracts import training
from mainspring.core.contracts.capacity import Capacity
from mainspring.workflows.ray_jobs import client

__all__ = ["CORE_HOUR", "GPU_HOUR", "MEMORY_HOUR", "core_hours", "gib_hours", "with_gpus", "with_memory"]

CORE_HOUR: Final = "cpu_core_hour"
MEMORY_HOUR: Final = "memory_gib_hour"
GPU_HOUR: Final = "gpu_hour"


class Run(Protocol):
    """Whose job it is; the requests of workflows are such."""

    @property
    def run_id(self) -> str: ...
    @property
    def project(self) -> str: ...
    @property
    def environment(self) -> str: ...


def core_hours(
    run: Run,
    job: client.Job,
    *,
    key: str,
    service: str,
    cpu_seconds: float,
    capacity: Capacity = Capacity.ON_DEMAND,
) -> training.UsageRecord:
    """`cpu_seconds` of CPU time, of the run's earlier jobs too where the last one went on with their work. A record with the same `key` is counted once; a job without times ends now."""
    ended = _time(job.end_time) or datetime.now(UTC)
    return training.UsageRecord(
        usage_key=key,
        run_id=run.run_id,
        project=run.project,
        environment=run.environment,
        service=service,
        sku=CORE_HOUR,
        consumed_quantity=cpu_seconds / 3600,
        consumed_unit="core-hours",
        started_at=_time(job.start_time) or ended,
        ended_at=ended,
        capacity=capacity,
    )


def gib_hours(byte_seconds: int) -> float:
    return byte_seconds / (1 << 30) / 3600


def with_memory(core_hours: training.UsageRecord, byte_seconds: int) -> list[training.UsageRecord]:
    """The record, and one more of the memory that the same jobs held; none where nobody has counted any."""
    if not byte_seconds:
        return [core_hours]
    memory = {
        "usage_key": f"{core_hours.usage_key}/memory",
        "sku": MEMORY_HOUR,
        "consumed_quantity": gib_hours(byte_seconds),
        "consumed_unit": "GiB-hours",
    }
    return [core_hours, core_hours.model_copy(update=memory)]


def with_gpus(records: list[training.UsageRecord], gpu_seconds: float) -> list[training.UsageRecord]:
    """Those of a job, core-hours first, and one more of the GPUs that it had; none where it had none."""
    if not gpu_seconds:
        return records
    gpu = {
        "usage_key": f"{records[0].usage_key}/gpu",
        "sku": GPU_HOUR,
        "consumed_quantity": gpu_seconds / 3600,
        "consumed_unit": "gpu-hours",
    }
    return [*records, records[0].model_copy(update=gpu)]


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
