"""A pipeline in a folder, as a team would write it; its files are written anew for each test."""

from __future__ import annotations

from pathlib import Path

from mainspring.core.contracts import pipelines
from mainspring.core.pipelines import LocalRun, PipelineStore, loading, run_locally

HELPERS = """
def double(x: int) -> int:
    return 2 * x

def unused() -> int:
    return 1
"""

NIGHTLY = '''
"""Numbers, squared and added up."""
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from helpers import double

from mainspring.core.pipelines import approval, each, pipeline, step

FACTOR = 3

@dataclass
class Split:
    train: list[int]
    names: Path

@step
def load(rows: int) -> Path:
    out = Path("rows.txt")
    out.write_text(" ".join(str(double(i)) for i in range(rows)))
    return out

@step
def split(data: Path) -> Split:
    return Split([int(x) * FACTOR for x in data.read_text().split()], data)

@step
def spread(numbers: list[int]) -> list[int]:
    return numbers

@step(memory_gib=2, retries=1)
def square(x: int) -> int:
    return x * x

@step
def total(squares: list[int], names: Path) -> pl.DataFrame:
    return pl.DataFrame({"total": [sum(squares)], "file": [names.name]})

@pipeline(project="numbers")
def nightly(rows: int = 4) -> pl.DataFrame:
    parts = split(load(rows))
    return total(square(each(spread(parts.train))), parts.names)
'''


def write(folder: Path, nightly: str = NIGHTLY, helpers: str = HELPERS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "helpers.py").write_text(helpers)
    file = folder / "nightly.py"
    file.write_text(nightly)
    return file


def run(file: Path, store: PipelineStore, **more: object) -> LocalRun:
    return run_locally(loading.load(file), store, **more)  # type: ignore[arg-type]


def done_again(found: LocalRun) -> dict[str, str]:
    """The steps that were done, and why."""
    reports = found.reports.values()
    return {r.name: r.why_not_cached for r in reports if r.from_cache < r.items}


def node(name: str, *needs: str, **more: object) -> pipelines.Node:
    inputs = {f"a{i}": pipelines.Input(node=needed) for i, needed in enumerate(needs)}
    return pipelines.Node.model_validate(
        {"name": name, "function": f"nightly:{name}", "inputs": inputs, **more}
    )
