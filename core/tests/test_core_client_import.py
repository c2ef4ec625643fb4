"""What a product team's process imports with the thin client, told by Python itself and not by a clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: All of ours that the client of workflows is. Settings are of those who connect by them.
OURS = {
    "mainspring.core.canonical",
    "mainspring.core.client",
    "mainspring.core.client.claims",
    "mainspring.core.client.connection",
    "mainspring.core.client.ends",
    "mainspring.core.client.failures",
    "mainspring.core.client.payloads",
    "mainspring.core.client.search_attributes",
    "mainspring.core.client.tracing",
    "mainspring.core.client.under_way",
    "mainspring.core.client.workflows",
    "mainspring.core.contracts",
    "mainspring.core.contracts.access_requests",
    "mainspring.core.contracts.base",
    "mainspring.core.contracts.canaries",
    "mainspring.core.contracts.capacity",
    "mainspring.core.contracts.deployment",
    "mainspring.core.contracts.erasure",
    "mainspring.core.contracts.evaluation",
    "mainspring.core.contracts.keys",
    "mainspring.core.contracts.members",
    "mainspring.core.contracts.pipelines",
    "mainspring.core.contracts.progress",
    "mainspring.core.contracts.releasing",
    "mainspring.core.contracts.retiring",
    "mainspring.core.contracts.scoring",
    "mainspring.core.contracts.training",
    "mainspring.core.contracts.tuning",
    "mainspring.core.durable",
    "mainspring.core.errors",
    "mainspring.core.ids",
    "mainspring.core.traces",
    "mainspring.core.watched",
}
#: What it needs of others; a package that one of these takes when it happens to be installed is not told apart.
HEAVY = (
    "torch",
    "ray",
    "mlflow",
    "polars",
    "numpy",
    "pandas",
    "pyarrow",
    "duckdb",
    "httpx",
    "fastapi",
    "litestar",
)


def imported(statement: str) -> set[str]:
    """Every module that a fresh process loads, by `-X importtime`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


def test_the_client_of_workflows_loads_its_contracts_and_nothing_heavy() -> None:
    found = imported("from mainspring.core.client import workflows")
    assert "temporalio.client" in found and "pydantic" in found
    assert {name for name in found if name.startswith("mainspring.core.")} == OURS
    assert {name.partition(".")[0] for name in found} & set(HEAVY) == set()
    assert not {name for name in found if name.startswith(("temporalio.worker", "temporalio.testing"))}


def test_the_client_of_the_control_api_needs_no_more_than_httpx_and_pydantic() -> None:
    found = imported("from mainspring.core.client import control")
    assert "mainspring.core.settings" not in found
    assert {name.partition(".")[0] for name in found} & {*HEAVY, "temporalio"} == {"httpx"}


@pytest.mark.parametrize("module", ["schedules", "connection"])
def test_nor_do_the_others_read_settings_or_load_anything_heavy(module: str) -> None:
    found = imported(f"from mainspring.core.client import {module}")
    assert "mainspring.core.settings" not in found
    assert {name.partition(".")[0] for name in found} & set(HEAVY) == set()
