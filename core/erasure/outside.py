"""Places outside of the state directory: outputs of batch scoring, and what an operator declares, on disks and in object stores."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa

from mainspring.core import errors
from mainspring.core.contracts.erasure import Found, Uncovered
from mainspring.core.erasure import files
from mainspring.core.erasure.matching import BySubject
from mainspring.core.erasure.places import OTHER_FORMS, FolderPlace, not_searched
from mainspring.core.scoring import outputs, places

__all__ = ["Folders", "Stores", "folders", "shown", "sources"]

_S3: Final = "s3://"


@dataclass(frozen=True)
class Folders:
    """Folders and files of disks. `owner`: only outputs of that project's batch scorings, as their claims say."""

    name: str
    uris: Sequence[str]
    owner: str = ""

    def find(self, subject: BySubject) -> Found:
        here, missing = self._here()
        found = here.find(subject)
        return found.model_copy(update={"uncovered": [*found.uncovered, *_missing(missing)]})

    def erase(self, subject: BySubject) -> Found:
        return self._here()[0].erase(subject)

    def _here(self) -> tuple[FolderPlace, list[str]]:
        local = [str(path) for path in folders(self.uris)]
        if self.owner:
            return FolderPlace(self.name, [Path(uri) for uri in local if _of(uri, self.owner)]), []
        return FolderPlace(self.name, [Path(uri) for uri in local]), [
            u for u in local if not Path(u).exists()
        ]


@dataclass(frozen=True)
class Stores:
    """The same in object stores: an object is replaced whole, by one without the rows, or stays.

    What a bucket keeps of the objects of before, nobody sees from here: each bucket is told as not covered in that.
    """

    name: str
    uris: Sequence[str]
    owner: str = ""

    def find(self, subject: BySubject) -> Found:
        rows = items = 0
        uncovered = list[Uncovered]()
        for uri, place in self._places():
            there, unknown = place.files(), list[str]()
            for file in there:
                if n := _count(place, file, subject):
                    rows, items = rows + n, items + 1
                elif PurePosixPath(file.path or uri).suffix in OTHER_FORMS:
                    unknown.append(PurePosixPath(file.path or shown(uri)).name)
            uncovered += [not_searched(shown(uri), unknown)] if unknown else []
            uncovered += _missing([uri] if not there and not self.owner else [])
        return Found(place=self.name, rows=rows, items=items, uncovered=[*uncovered, *self._versions()])

    def erase(self, subject: BySubject) -> Found:
        """Errors: Conflict for an object that was replaced meanwhile; DependencyDown of the store: what was erased by then stays so,
        and again goes on with the rest."""
        rows = items = 0
        for _, place in self._places():
            for file in place.files():
                if n := _count(place, file, subject):
                    place.replace(file, _without(place, file, subject))
                    rows, items = rows + n, items + 1
        return Found(place=self.name, rows=rows, items=items)

    def _places(self) -> Iterator[tuple[str, places.Place]]:
        for uri in self.uris:
            if uri.startswith(_S3):
                place = _of(uri, self.owner) if self.owner else places.Place.at(uri)
                if place is not None:
                    yield uri, place

    def _versions(self) -> list[Uncovered]:
        buckets = sorted({urlsplit(uri).hostname or "" for uri, _ in self._places()})
        return [
            Uncovered(
                what=f"earlier versions of objects in bucket `{bucket}`, if it keeps any",
                why="they are removed by the bucket's own lifecycle rules",
            )
            for bucket in buckets
        ]


def folders(uris: Sequence[str]) -> list[Path]:
    """Those of the places that are on a disk."""
    return [Path(uri) for uri in uris if not uri.startswith(_S3)]


def sources(inputs: Sequence[str], searched: Sequence[str]) -> list[Uncovered]:
    """Inputs of batch scoring that lie below none of the places that are searched: the team's own, which others change."""
    below = [f"{shown(place).rstrip('/')}/" for place in searched]
    left = {shown(uri) for uri in inputs if not f"{shown(uri).rstrip('/')}/".startswith(tuple(below))}
    return [
        Uncovered(
            what=f"input of batch scoring `{uri}`",
            why="a source of the team's own: it is not declared (`protection.erasure_places`), and so was not searched",
        )
        for uri in sorted(left)
    ]


def shown(uri: str) -> str:
    """A place without how it is reached: a URI may have credentials in it."""
    if not uri.startswith(_S3):
        return uri
    parts = urlsplit(uri)
    return f"{_S3}{parts.hostname or ''}{parts.path}"


def _missing(uris: Sequence[str]) -> list[Uncovered]:
    return [
        Uncovered(
            what=f"declared place `{shown(uri)}`",
            why="nothing is there; see that it is written right and that the worker may list it",
        )
        for uri in uris
    ]


def _of(uri: str, project: str) -> places.Place | None:
    """The place, if it is a scoring's own folder: one that a scoring was refused is others'. Errors: CorruptArtifact for a damaged
    claim; DependencyDown."""
    try:
        place = places.Place.at(uri)
    except errors.InvalidRequest:
        return None  # no scoring wrote there
    if place.look(outputs.CLAIM) is None:
        return None
    claim = place.read(outputs.CLAIM)
    try:
        return place if json.loads(claim)["detail"]["project"] == project else None
    except (ValueError, KeyError, TypeError) as error:
        raise files.unreadable(f"{shown(place.uri)}/{outputs.CLAIM}", error) from error


def _count(place: places.Place, file: places.File, subject: BySubject) -> int:
    name = PurePosixPath(file.path or shown(place.uri))
    called = f"{shown(place.uri).rstrip('/')}/{file.path}".rstrip("/")
    if name.suffix == ".jsonl":
        return sum(files.is_told(line, subject, called) for line in io.BytesIO(place.read(file.path)))
    if name.suffix != ".parquet":
        return 0
    with place.open(file.path) as source:
        return files.count_parquet(source, subject, called=called)


def _without(place: places.Place, file: places.File, subject: BySubject) -> Any:
    """All of it, before a byte of the new object is sent: an upload that is cut short must not look complete."""
    called = f"{shown(place.uri).rstrip('/')}/{file.path}".rstrip("/")
    if PurePosixPath(called).suffix == ".jsonl":
        lines = io.BytesIO(place.read(file.path))
        return b"".join(line for line in lines if not files.is_told(line, subject, called))
    buffer = pa.BufferOutputStream()
    try:
        with place.open(file.path) as source:
            files.write_rest(source, buffer, subject)
    except pa.ArrowException as error:
        raise files.unreadable(called, error) from error
    except OSError as error:
        raise errors.DependencyDown(
            f"`{called}` cannot be read: {error}; check the store and its credentials", name=called
        ) from error
    return buffer.getvalue()
