"""One erasure in one process: keep out, find, erase, read everything again, and say what is proven.

Every step is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mainspring.core import errors, settings, workspace
from mainspring.core.contracts.erasure import CertifiedPlace, Found, Kept, Uncovered
from mainspring.core.erasure import files, outside
from mainspring.core.erasure.erased import ErasedList
from mainspring.core.erasure.feast_online import FeastOnline
from mainspring.core.erasure.matching import BySubject, ErasedRows
from mainspring.core.erasure.places import ErasurePlace, FolderPlace, LogsPlace, ObjectsPlace
from mainspring.core.erasure.streams import StreamStates
from mainspring.core.erasure.subjects import Subject
from mainspring.core.monitoring import tokens
from mainspring.core.protection import keysets, sealing

__all__ = [
    "KEPT",
    "ROUNDS",
    "erase",
    "file_places",
    "matcher_of",
    "not_covered",
    "outside_places",
    "prove",
    "replay",
]

#: Whatever writes a subject's rows while they are erased is through after so many looks, or somebody has to stop it.
ROUNDS: Final = 3

#: What no erasure touches, and on which ground; every certificate says it.
KEPT: Final = (
    Kept(
        what="audit log: that and by whom the erasure was asked for, approved and done, with the subject's keyed hash",
        ground="GDPR art. 17(3)(b) and 5(2): the duty to prove it",
    ),
    Kept(
        what="list of erased subjects, keyed hashes",
        ground="GDPR art. 17(1): without it late or replayed data would bring the subject back",
    ),
    Kept(
        what="sums of monitoring by hour: counts, no rows; a value that is a category of a model's input stays as its name",
        ground="GDPR art. 17(3)(d): statistics",
    ),
    Kept(
        what="histories of the workflow engine, encrypted, until their retention ends",
        ground="they are removed by that retention",
    ),
    Kept(
        what="topics of the broker and the team's own sources, until their retention ends",
        ground="not of the platform; rows that come from there are dropped",
    ),
)


def file_places(
    in_force: settings.Settings, project: str, *, endpoints: Sequence[str], views: Sequence[str]
) -> list[ErasurePlace]:
    """Every place on this machine's disks that may have rows of the project's subjects.

    `endpoints` and `views` are the project's: the logs of serving are shared by all projects.
    """
    state, serving = in_force.stack.state_dir, in_force.serving
    root = state / "projects" / project
    pipelines = root / "pipelines"
    held = [p for p in sorted((serving.pushes_dir / "quarantine").glob("*")) if _view_of(p) in views]
    return [
        FolderPlace("offline tables", [root], skip=frozenset({pipelines})),
        ObjectsPlace("pipeline contents", pipelines / "objects"),
        FolderPlace("pipeline runs", [pipelines / "runs"]),
        ObjectsPlace("other files of pipeline runs", pipelines / "runs", skip=files.SUFFIXES),
        LogsPlace("kept logs of jobs", root / "job_logs"),
        FolderPlace("prediction log", [serving.predictions_dir / e for e in endpoints]),
        FolderPlace("recorded reads", [serving.reads_dir / v for v in views]),
        FolderPlace("held pushes", held),
        FolderPlace("recorded requests", [workspace.Workspace(state, project, 1.0).probes]),
        StreamStates(in_force.streams.state_dir, project),
    ]


def outside_places(in_force: settings.Settings, project: str, outputs: Sequence[str]) -> list[ErasurePlace]:
    """What is elsewhere: where the project's batch scorings wrote, and what the operator declares."""
    declared = in_force.protection.erasure_places_of(project)
    return [
        outside.Folders("batch scores", outputs, project),
        outside.Stores("batch scores in object stores", outputs, project),
        outside.Folders("declared folders", declared),
        outside.Stores("declared places in object stores", declared),
        FeastOnline(declared),
    ]


def not_covered(in_force: settings.Settings, project: str, inputs: Sequence[str]) -> list[Uncovered]:
    """What is known to be there, and is not searched."""
    own = str(in_force.stack.state_dir / "projects" / project)
    return outside.sources(inputs, [own, *in_force.protection.erasure_places_of(project)])


def matcher_of(in_force: settings.Settings, subject: Subject) -> BySubject:
    """What recognises the subject here: plain, as the log's token, and sealed."""
    token_key, protection = in_force.serving.token_key, in_force.protection
    tokeniser = tokens.Tokeniser.load(token_key) if token_key.is_file() else None

    def cipher() -> sealing.Cipher:
        return keysets.keyset(protection, subject.project).cipher()

    return BySubject(subject, tokeniser=tokeniser, cipher=cipher)


def replay(in_force: settings.Settings, project: str) -> list[Found]:
    """Erase the rows of everybody who was erased before from the project's tables, logs of reads, held pushes and declared folders:
    for files that were put back from before. What was erased, by place.

    By keyed hashes alone, so forms that hide a key are not recognised: tokens of the prediction log, sealed columns. Readers of
    streams forget by themselves when they start; for the rest the erasure is asked for again, by somebody who knows the key.
    Errors: as of the places.
    """
    known = ErasedList.of(in_force.protection)
    check = known.of_project(project)
    if check is None:
        return []
    views = sorted({view for entry in known.entries() if entry.project == project for view in entry.views})
    places = [
        *file_places(in_force, project, endpoints=(), views=views),
        FolderPlace("declared folders", outside.folders(in_force.protection.erasure_places_of(project))),
    ]
    matcher = ErasedRows(check.is_erased, check.columns)
    return [place.erase(matcher) for place in places if isinstance(place, FolderPlace)]


def erase(place: ErasurePlace, subject: BySubject) -> Found:
    """Erase, and read again, a few times if something writes meanwhile. What was erased.

    Errors: Conflict naming the place whose rows come again; those of the place.
    """
    rows = items = 0
    for _ in range(ROUNDS):
        done = place.erase(subject)
        rows, items = rows + done.rows, items + done.items
        if not place.find(subject).rows:
            return Found(place=place.name, rows=rows, items=items)
    raise errors.Conflict(
        f"rows of the subject come again to `{place.name}` while they are erased; stop what writes them, and start the erasure"
        " again",
        resource="place",
        name=place.name,
    )


def prove(
    places: Sequence[ErasurePlace], subject: BySubject, before: Sequence[Found]
) -> tuple[list[CertifiedPlace], list[Uncovered]]:
    """Read all places again; and what of them nobody could search. Errors: Conflict naming those that have rows; those of the
    places."""
    counted = {found.place: found for found in before}
    told, uncovered = list[CertifiedPlace](), list[Uncovered]()
    for place in places:
        found = place.find(subject)
        uncovered += found.uncovered
        was = counted.get(place.name, Found(place=place.name))
        told.append(
            CertifiedPlace(
                place=place.name,
                rows_before=was.rows,
                items_before=was.items,
                rows_after=found.rows,
            )
        )
    if left := [place.place for place in told if place.rows_after]:
        raise errors.Conflict(
            f"rows of the subject came again to {', '.join(f'`{p}`' for p in left)} after they were erased; stop what writes"
            " them, and start the erasure again",
            resource="place",
            name=left[0],
        )
    return told, uncovered


def _view_of(held: Path) -> str:
    """A held push is called by its view and twelve digits of its digest (`quality/quarantine.py`)."""
    return held.name.rpartition("-")[0]
