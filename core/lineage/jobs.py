"""What a job says about its data: which datasets of which version it read and made, and which columns made which."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Column", "Dataset", "JobRun"]

_RUNS: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://mainspring/runs")


@dataclass(frozen=True)
class Column:
    """A column of another dataset. `namespace` empty: of the job's own project."""

    dataset: str
    name: str
    namespace: str = ""


@dataclass(frozen=True)
class Dataset:
    """One dataset of one version. `namespace` empty: the job's own project.

    `made_of` tells, of a made dataset's column, which columns it was computed from; `whole_of` which columns all of it
    depends on, such as a model on its inputs. What is made and says neither depends on all that was read.
    """

    name: str
    version: str
    kind: str
    columns: Mapping[str, str] = field(default_factory=dict)
    made_of: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    whole_of: tuple[Column, ...] = ()
    namespace: str = ""
    owner: str = ""
    description: str = ""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By column, and of the dataset as a whole by ``""``: values by key, such as `classification`."""
    is_gone: bool = False
    """It is not there any more."""


@dataclass(frozen=True)
class JobRun:
    """One attempt of one job of a run of ours. Its ids follow from these fields: told twice, it is the same run."""

    project: str
    job: str
    run_id: str
    attempt: int = 1
    part: str = ""
    """Tells apart what one run of ours does several times."""

    @property
    def uuid(self) -> str:
        names = (self.project, self.run_id, self.job, self.part, str(self.attempt))
        return str(uuid.uuid5(_RUNS, "/".join(names)))

    @property
    def parent_uuid(self) -> str:
        return str(uuid.uuid5(_RUNS, f"{self.project}/{self.run_id}"))
