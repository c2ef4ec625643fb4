"""What an evaluation found: checks, statistics of each column, and what the next batch is compared with."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from mainspring.core import canonical, errors, projects

__all__ = ["ColumnStatistics", "Profile", "QualityReport"]


class ColumnStatistics(projects.Report):
    """One column of a batch. Texts have no `low` and `high`."""

    name: str
    dtype: str
    missing: int = Field(ge=0)
    """Rows that are null or NaN."""
    distinct: int | None = None
    """About how many different values (HyperLogLog: some 5 % off); None for nested types."""
    low: float | None = None
    high: float | None = None
    """Smallest and largest number; times as microseconds since 1970. None without a finite one."""
    mean: float | None = None


class Profile(projects.Report):
    """How a column's values are spread: `counts` by bin, and how many rows are missing.

    Numbers: bin i holds what is above `edges[i-1]` and at most `edges[i]`, the last one what is above all edges.
    Else `values[i]` has `counts[i]` rows, and the last count is of all other values.
    """

    column: str
    edges: tuple[float, ...] | None = None
    values: tuple[str, ...] | None = None
    counts: tuple[int, ...]
    missing: int

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.missing


class QualityReport(projects.Report):
    """One batch against one suite. `suite` is the suite's digest.

    Lies beside the data, for whoever may see it: `columns` and `profiles` have values of rows. Checks have counts alone.
    """

    dataset: str
    suite: str
    rows: int = Field(ge=0)
    checks: tuple[projects.CheckResult, ...]
    columns: tuple[ColumnStatistics, ...] = ()
    profiles: tuple[Profile, ...] = ()

    @property
    def failed(self) -> tuple[projects.CheckResult, ...]:
        return tuple(c for c in self.checks if c.fatal and not c.ok)

    @property
    def warnings(self) -> tuple[projects.CheckResult, ...]:
        return tuple(c for c in self.checks if not c.fatal and not c.ok)

    def profile(self, column: str) -> Profile | None:
        return next((p for p in self.profiles if p.column == column), None)

    @property
    def digest(self) -> str:
        return canonical.digest_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, value: Any, *, where: str) -> QualityReport:
        """A report out of a manifest or file called `where`. Errors: CorruptArtifact."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise errors.CorruptArtifact(
                f"`{where}` holds no quality report of this version: {first['msg'].lower()}; evaluate the batch again",
                artifact=where,
                expected="quality report",
                got=".".join(str(part) for part in first["loc"]),
            ) from error
