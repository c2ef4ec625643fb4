"""What a workspace costs: the cores and the memory that it was given, for as long as it had them, in the one ledger of costs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from mainspring.core import durable, errors, settings
from mainspring.core.client import control
from mainspring.core.contracts import training

__all__ = ["cost", "note", "settle", "units", "waiting"]

_LOG: Final = logging.getLogger(__name__)
SERVICE: Final = "notebook"
#: Where notebooks work.
ENVIRONMENT: Final = "dev"
_FILE: Final = "usage.jsonl"


def cost(book: settings.CostSettings, cores: int, memory_gib: float, hours: float) -> float:
    """In the book's currency."""
    return (cores * book.cpu_core_hour + memory_gib * book.memory_gib_hour) * hours


def units(cores: int, memory_gib: float, hours: float) -> dict[str, float]:
    """By SKU of the price book."""
    return {"cpu_core_hour": cores * hours, "memory_gib_hour": memory_gib * hours}


def waiting(folder: Path) -> dict[str, float]:
    """Units by SKU that are written down and were not received."""
    found: dict[str, float] = {}
    for line in _lines(folder):
        record = training.UsageRecord.model_validate_json(line)
        found[record.sku] = found.get(record.sku, 0.0) + record.consumed_quantity
    return found


def note(
    folder: Path, who: str, project: str, cores: int, memory_gib: float, since: datetime, until: datetime
) -> None:
    """Keep on disk what a time has cost, for :func:`settle`. The same time again is the same record. One writer at a time.

    `who`: `<id>:<actor>`, with which the record's key begins: the audit log has it, too. A time of no length is a beginning.
    """
    notebook_id, hours = who.partition(":")[0], (until - since) / timedelta(hours=1)
    lines = list(_lines(folder))
    for sku, unit, quantity in (
        ("cpu_core_hour", "core-hours", cores * hours),
        ("memory_gib_hour", "GiB-hours", memory_gib * hours),
    ):
        record = training.UsageRecord(
            usage_key=f"{who}:{since.isoformat()}/{until.isoformat()}:{sku}", run_id=notebook_id, project=project, environment=ENVIRONMENT, service=SERVICE, sku=sku,
            consumed_quantity=quantity, consumed_unit=unit, started_at=since, ended_at=until,
        )  # fmt: skip
        lines.append(record.model_dump_json())
    _write(folder, lines)


def settle(folder: Path, client: control.ControlClient) -> int:
    """Send what is kept, as a service, until something is not received; how many are left. One writer at a time.

    What the control API does not take, as of a project that is gone, is kept aside for a person to look at (`usage.refused.jsonl`).
    """
    lines = list(_lines(folder))
    while lines:
        try:
            client.record_usage(training.UsageRecord.model_validate_json(lines[0]))
        except (errors.Rejected, errors.Denied) as error:
            _aside(folder, lines[0], error)
        except errors.MainspringError:
            break  # it comes again, with the same key
        lines = lines[1:]
        _write(folder, lines)
    return len(lines)


def _aside(folder: Path, line: str, error: errors.MainspringError) -> None:
    path = folder / "usage.refused.jsonl"
    before = path.read_text() if path.exists() else ""
    if line not in before:
        durable.replace_file(path, f"{before}{line}\n")
    _LOG.error("a record of use was refused and is kept in %s: %s", path, error.message)


def _lines(folder: Path) -> Iterator[str]:
    path = folder / _FILE
    return iter(path.read_text().splitlines() if path.exists() else ())


def _write(folder: Path, lines: list[str]) -> None:
    durable.replace_file(folder / _FILE, "".join(f"{line}\n" for line in lines))
