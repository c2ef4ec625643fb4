"""What is known to be wrong with packages: a folder of advisories in OSV's format, read offline.

The folder holds what OSV publishes for PyPI, unpacked: `*.json`, each a record or a list of records, as anybody may fetch and carry
in. Names are compared as PEP 503, versions as PEP 440. What cannot be read or compared counts against the package, never for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from packaging import version as pep440

from mainspring.core import errors
from mainspring.core.supply import environment

#: From harmless to worst. What says nothing of it is as bad as the worst.
SEVERITIES: Final = ("none", "low", "medium", "high", "critical")

_ECOSYSTEM: Final = "pypi"
_WORDS: Final = {"moderate": "medium", "negligible": "none"}


@dataclass(frozen=True)
class Finding:
    """An advisory that is about an installed version."""

    advisory: str
    package: str
    version: str
    severity: str
    fixed_in: str = ""
    aliases: tuple[str, ...] = ()
    """Its other names: `CVE-...` of a `GHSA-...`."""

    def __str__(self) -> str:
        fix = f"fixed in {self.fixed_in}" if self.fixed_in else "no fixed version is known"
        return f"{self.package} {self.version}: {self.advisory} ({self.severity}; {fix})"


class Feed:
    """The records of one folder by package. Immutable, thread-safe."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Errors: KeyError, TypeError, ValueError for a record that is none."""
        self._by_package: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
        times = []
        for record in records:
            str(record["id"])
            times.append(datetime.fromisoformat(str(record["modified"])).astimezone(UTC))
            if record.get("withdrawn"):
                continue
            for affected in record.get("affected", []):
                package = affected.get("package", {})
                if str(package.get("ecosystem", "")).lower().partition(":")[0] == _ECOSYSTEM:
                    name = environment.normalised(str(package["name"]))
                    self._by_package.setdefault(name, []).append((record, affected))
        self.newest: Final = max(times, default=None)
        """When its newest record was changed, withdrawn ones included: how old the feed is at least."""

    @classmethod
    def load(cls, folder: Path) -> Feed | None:
        """None if there is no such folder. Errors: CorruptArtifact naming the file that is no advisory."""
        if not folder.is_dir():
            return None
        records: list[Mapping[str, Any]] = []
        for path in sorted(folder.glob("*.json")):
            try:
                value = json.loads(path.read_bytes())
                found = value if isinstance(value, list) else [value]
                cls(found)
            except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                raise errors.CorruptArtifact(
                    f"`{path}` is no advisory in OSV's format: {error!r}; fetch the feed again, or remove the file",
                    artifact=str(path),
                    expected="OSV records",
                    got=repr(error),
                ) from error
            records += found
        return cls(records)

    def findings(self, packages: Iterable[environment.Package]) -> tuple[Finding, ...]:
        """Every advisory about one of these versions, by package."""
        return tuple(
            Finding(
                str(record["id"]),
                package.name,
                package.version,
                severity_of(record),
                _fixed_in(affected),
                tuple(map(str, record.get("aliases", []))),
            )
            for package in packages
            for record, affected in self._by_package.get(package.name, [])
            if is_affected(package.version, affected)
        )


def is_affected(version: str, affected: Mapping[str, Any]) -> bool:
    """OSV's rule: listed by name, or within a range. A record without either is about every version."""
    versions, ranges = affected.get("versions", []), affected.get("ranges", [])
    if not versions and not ranges:
        return True
    if version in versions:
        return True
    ours = _parsed(version)
    if ours is None:
        return True  # what has no order is in no range for sure, and out of none
    if any(_parsed(str(v)) == ours for v in versions):
        return True
    return any(_in_range(ours, r.get("events", [])) for r in ranges if r.get("type") == "ECOSYSTEM")


def severity_of(record: Mapping[str, Any]) -> str:
    """One of :data:`SEVERITIES`: the database's own word, else CVSS 3's base score, else the worst."""
    word = str(record.get("database_specific", {}).get("severity", "")).lower()
    word = _WORDS.get(word, word)
    if word in SEVERITIES:
        return word
    scores = [
        cvss3(str(s.get("score", ""))) for s in record.get("severity", []) if s.get("type") == "CVSS_V3"
    ]
    known = [score for score in scores if score is not None]
    return _rating(max(known)) if known else SEVERITIES[-1]


def is_at_least(severity: str, threshold: str) -> bool:
    return SEVERITIES.index(severity) >= SEVERITIES.index(threshold)


def _in_range(ours: pep440.Version, events: Iterable[Mapping[str, Any]]) -> bool:
    """Events by version; of equal ones `introduced` last, so that it wins over a fix at the same version."""
    steps: list[tuple[pep440.Version, int, str]] = []
    for event in events:
        for kind, text in event.items():
            at = pep440.Version("0.dev0") if kind == "introduced" and text == "0" else _parsed(str(text))
            if at is None:
                return True  # a range that has no order
            steps.append((at, 1 if kind == "introduced" else 0, kind))
    inside = False
    for at, _, kind in sorted(steps, key=lambda step: step[:2]):
        if kind == "introduced" and ours >= at:
            inside = True
        elif (kind == "fixed" and ours >= at) or (kind == "last_affected" and ours > at):
            inside = False
    return inside


def _fixed_in(affected: Mapping[str, Any]) -> str:
    fixes = [
        str(event["fixed"])
        for r in affected.get("ranges", [])
        if r.get("type") == "ECOSYSTEM"
        for event in r.get("events", [])
        if "fixed" in event
    ]
    return fixes[-1] if fixes else ""


def _parsed(text: str) -> pep440.Version | None:
    try:
        return pep440.Version(text)
    except pep440.InvalidVersion:
        return None


_CVSS3: Final[Mapping[str, Mapping[str, float]]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES: Final = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}


def cvss3(vector: str) -> float | None:
    """The base score of a CVSS 3 vector (FIRST, CVSS 3.1 specification, 7.1); None if it is none."""
    fields = dict(part.split(":", 1) for part in vector.split("/")[1:] if ":" in part)
    try:
        value = {name: weights[fields[name]] for name, weights in _CVSS3.items()}
        changed = {"U": False, "C": True}[fields["S"]]
        privileges = _PRIVILEGES[fields["S"]][fields["PR"]]
    except KeyError:
        return None
    if not vector.startswith("CVSS:3."):
        return None
    impact_base = 1 - (1 - value["C"]) * (1 - value["I"]) * (1 - value["A"])
    impact = (
        7.52 * (impact_base - 0.029) - 3.25 * (impact_base - 0.02) ** 15 if changed else 6.42 * impact_base
    )
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * value["AV"] * value["AC"] * privileges * value["UI"]
    total = min((1.08 if changed else 1.0) * (impact + exploitability), 10.0)
    # The specification's own rounding up, in integers, so that 4.02 does not become 4.1 by a float's last bit.
    whole = round(total * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (math.floor(whole / 10_000) + 1) / 10


def _rating(score: float) -> str:
    for limit, word in ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low")):
        if score >= limit:
            return word
    return "none"
