"""The published schemas: those of today are stored, those of the last release are not broken, and no process is left out."""

from __future__ import annotations

import json
from typing import Any

import source_tree
import temporalio.workflow

from mainspring.core.contracts import published
from mainspring.workflows import worker
from mainspring.workflows.queueing import messages

SCHEMAS = source_tree.ROOT / "docs" / "schemas"


def stored(folder: str) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((SCHEMAS / folder).glob("*.json"))}


def test_every_process_of_a_worker_is_published() -> None:
    registered = {temporalio.workflow._Definition.must_from_class(cls).name for cls in worker.WORKFLOWS}
    # What workers start among themselves is nobody's to start, and its messages are held by replay alone.
    assert registered - {messages.QUEUE_WORKFLOW} == set(published.PROCESSES)


def test_the_stored_schemas_are_todays() -> None:
    fix = "write them with `mainspring contracts export docs/schemas/next`"
    assert stored("next") == published.schemas(), fix


def test_a_client_of_the_last_release_can_speak_to_todays_workers() -> None:
    old, new = stored("released"), published.schemas()
    assert old, "docs/schemas/released holds what the last release published"
    assert {
        name: published.breaks(old[name], new.get(name, {"properties": {}, "$defs": {}})) for name in old
    } == {name: [] for name in old}
