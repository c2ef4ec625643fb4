"""Folders of data that pass their expectations before they take the place of the last good one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from mainspring.core import errors, identity
from mainspring.core.features import folders
from mainspring.core.quality import quarantine as holding
from mainspring.core.quality.report import QualityReport

__all__ = ["Checks", "accepted", "publish", "refusal", "release"]

#: A new folder, its detail and the last accepted reports by dataset, to the new folder's reports.
Checks: TypeAlias = Callable[[Path, Mapping[str, Any], Mapping[str, QualityReport]], Sequence[QualityReport]]

#: Where a folder's detail holds the reports it was accepted with, and who let it in if it failed.
_REPORTS: Final = "quality"
_RELEASE: Final = "quality_release"


def publish(
    target: Path,
    *,
    kind: str,
    inputs: Mapping[str, Any],
    write: Callable[[Path], Mapping[str, Any]],
    checks: Checks,
    quarantine: holding.Quarantine | None = None,
    unlisted: frozenset[str] = frozenset(),
) -> folders.Folder:
    """As `folders.publish`, of a folder that passes `checks`.

    One that fails is held whole in `quarantine` (default: beside `target`), and `target` stands as it was: whoever
    reads goes on with the last good batch. A later batch is judged anew.
    Errors:  DataInvalid that names the failed checks and the held batch; those of `folders.publish`.
    Threads: as `folders.publish`.
    """
    held_in = quarantine or holding.Quarantine.beside(target)

    def fill(new: Path) -> Mapping[str, Any]:
        detail = write(new)
        reports = tuple(checks(new, detail, accepted(target)))
        failed = [check for report in reports for check in report.failed]
        if failed:
            held = held_in.hold(
                new,
                dataset=target.name,
                kind=kind,
                inputs=inputs,
                detail=detail,
                reports=reports,
                instead_of=_serving(target, kind),
                unlisted=unlisted,
            )
            raise refusal(target.name, reports, held.name)
        return {**detail, _REPORTS: _by_dataset(reports)}

    return folders.publish(target, kind=kind, inputs=inputs, write=fill, unlisted=unlisted)


def release(
    target: Path,
    name: str,
    *,
    actor: identity.Actor,
    reason: str,
    quarantine: holding.Quarantine | None = None,
) -> folders.Folder:
    """Let the held batch `name` take the place of `target` although it failed; the folder says who did so and why.

    Safe to repeat. Errors: NotFound; PermissionDenied unless `actor` is an approver; InvalidRequest without a reason;
    Conflict if another batch was accepted since: this one is older than what it would replace.
    """
    held_in = quarantine or holding.Quarantine.beside(target)
    held = held_in.read(name)
    given = holding.approve(actor, reason, name)

    def fill(new: Path) -> Mapping[str, Any]:
        held_in.copy_to(name, new)
        return {
            **held.detail,
            _REPORTS: _by_dataset(held.reports),
            _RELEASE: given.model_dump(mode="json"),
        }

    serving = _serving(target, held.kind)
    if serving != held.instead_of and not _is_in_force(target, held):
        raise errors.Conflict(
            f"batch `{name}` was refused when `{held.instead_of or 'nothing'}` was in `{target}`, which has another one"
            " now; ingest the batch again, so that it is judged against that",
            resource="quarantined batch",
            name=name,
        )
    made = folders.publish(
        target, kind=held.kind, inputs=held.inputs, write=fill, unlisted=frozenset(held.unlisted)
    )
    if held.release is None:
        held_in.mark(name, holding.Release.model_validate(made.detail.get(_RELEASE, given.model_dump())))
    return made


def accepted(target: Path) -> dict[str, QualityReport]:
    """By dataset, the reports that the folder `target` was accepted with; empty if there is no such folder yet.

    Errors: CorruptArtifact if its reports are of another version.
    """
    try:
        found = json.loads((target / folders.MANIFEST).read_bytes())["detail"].get(_REPORTS, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # no folder, or a damaged one, which is no last good batch
    return {
        name: QualityReport.from_json(value, where=str(target / folders.MANIFEST))
        for name, value in found.items()
    }


def refusal(dataset: str, reports: Sequence[QualityReport], held: str) -> errors.DataInvalid:
    """What whoever brought the batch is told. `held` is its name in quarantine; empty if it was not kept."""
    failed = [check for report in reports for check in report.failed]
    first = failed[0]
    asked = sum(len(report.checks) for report in reports)
    kept = f"it is held as `{held}`" if held else "it was not kept"
    return errors.DataInvalid(
        f"{len(failed)} of {asked} checks failed, first `{first.name}`: expected {first.expected}, got"
        f" {first.observed}; {kept}, nothing of it is in use: mend the source and send it again",
        dataset=dataset,
        failed=tuple(check.name for check in failed),
        quarantined=held,
    )


def _by_dataset(reports: Sequence[QualityReport]) -> dict[str, Any]:
    return {report.dataset: report.model_dump(mode="json") for report in reports}


def _serving(target: Path, kind: str) -> str:
    try:
        return folders.read(target, kind=kind).digest
    except (errors.NotFound, errors.CorruptArtifact):
        return ""


def _is_in_force(target: Path, held: holding.Held) -> bool:
    try:
        found = folders.read(target, kind=held.kind)
    except (errors.NotFound, errors.CorruptArtifact):
        return False
    return dict(found.inputs) == held.inputs
