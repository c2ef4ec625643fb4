"""The manifest of a folder of segments: which files of the source they hold, and every segment with its digests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from mainspring.core import canonical, durable, errors
from mainspring.core.features import lake, segment_file

__all__ = ["MANIFEST", "Manifest", "read", "write"]

MANIFEST: Final = "manifest.json"
_KIND: Final = "sorted segments"
_VERSION: Final = 1


@dataclass(frozen=True)
class Manifest:
    """Segments in the order of the source's rows: of two equal rows that of the later segment is the later one."""

    uri: str
    order: segment_file.Order
    files: tuple[lake.File, ...]
    segments: tuple[segment_file.Entry, ...]

    def staleness(self, source: lake.Parquet, files: Sequence[lake.File], order: segment_file.Order) -> str:
        """Why these are not the segments of `source` with these `files`, "" if they are."""
        if (self.uri, self.order) != (source.uri, order):
            return f"they are of `{self.uri}` by {self.order}"
        now = {file.name: file for file in files}
        for file in self.files:
            if file.name not in now:
                return f"file `{file.name}` is gone"
            if now[file.name] != file:
                return f"file `{file.name}` was written again"
        known = {file.name for file in self.files}
        return next((f"file `{name}` is new" for name in now if name not in known), "")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "version": _VERSION,
            "source": {"uri": self.uri, "files": [_kept(file) for file in self.files]},
            "order": {
                "keys": list(self.order.keys),
                "event": self.order.event,
                "created": self.order.created,
            },
            "rows": sum(entry.rows for entry in self.segments),
            "segments": [entry.to_json() for entry in self.segments],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        order = value["order"]
        return cls(
            uri=value["source"]["uri"],
            order=segment_file.Order(tuple(order["keys"]), order["event"], order["created"]),
            files=tuple(lake.File(**file) for file in value["source"]["files"]),
            segments=tuple(segment_file.Entry.from_json(entry) for entry in value["segments"]),
        )


def _kept(file: lake.File) -> dict[str, Any]:
    """Without its place, which the source says. Files have no tag, and manifests of before objects had none."""
    return {
        name: value for name, value in asdict(file).items() if name != "place" and (name != "tag" or value)
    }


def read(folder: Path) -> Manifest:
    """The manifest in `folder`. Errors: NotFound if there is none; CorruptArtifact if it is not what was written."""
    path = folder / MANIFEST
    try:
        value = json.loads(path.read_bytes())
        digest = value.pop("digest")
        if (got := canonical.digest(value)) != digest:
            raise ValueError(f"its content has digest {got}, not {digest}")
        if (value["kind"], value["version"]) != (_KIND, _VERSION):
            raise ValueError(f"it is {value['kind']}, version {value['version']}")
        return Manifest.from_json(value)
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"no segments in `{folder}`; refresh them to make them", resource="segments", name=str(folder)
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.CorruptArtifact(
            f"manifest `{path}` does not read: {error}; refresh the segments",
            artifact=str(path),
            expected=f"{_KIND}, version {_VERSION}",
            got=str(error),
        ) from error


def write(folder: Path, manifest: Manifest) -> None:
    """Put the manifest in place, whole, on disk. Errors: OSError, and then the old one stands."""
    value = manifest.to_json()
    value["digest"] = canonical.digest(value)
    durable.replace_file(folder / MANIFEST, canonical.dumps(value).decode())
