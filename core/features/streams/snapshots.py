"""A stream's state and the offsets it is of, in one file: there whole or not at all."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from mainspring.core import durable, errors
from mainspring.core.features.streams.definition import StreamDefinition

__all__ = ["Snapshot", "SnapshotFolder", "read"]

_LAYOUT: Final = 1
_META: Final = "meta"
_FILE: Final = "state.npz"


@dataclass(frozen=True)
class Snapshot:
    """What a state file says."""

    definition: str
    """The digest of the stream's."""
    key_fields: Sequence[Sequence[str]] | None
    """The names of each set of keys; None in files of releases that did not write them."""
    arrays: Mapping[str, NDArray[Any]]


def read(folder: Path) -> Snapshot | None:
    """The state in a folder as it is on disk, whoever holds the folder; None: there is none. Errors: CorruptArtifact."""
    path = folder / _FILE
    try:
        # Every member has a checksum, which reading it proves.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as members:
            arrays = {name: members[name] for name in members.files}
        meta = json.loads(arrays.pop(_META).tobytes())
        if meta["layout"] != _LAYOUT:
            raise ValueError(f"layout {meta['layout']}")
        return Snapshot(str(meta["definition"]), meta.get("keys"), arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise errors.CorruptArtifact(
            f"`{path}` is no stream state that this release reads: {error}; move it away, and the topic is read from"
            " its beginning",
            artifact=str(path),
            expected=f"stream state layout {_LAYOUT}",
            got=str(error),
        ) from error


class SnapshotFolder:
    """The folder of one stream's state: `lock`, held by the one process that reads the stream, and `state.npz`.

    Errors: Conflict if another process has it; DependencyDown if the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._lock = durable.hold_folder(path)
            (path / f"{_FILE}.new").unlink(missing_ok=True)  # of a process that died over it
        except BlockingIOError as error:
            raise errors.Conflict(
                f"stream state `{path}` is in use; stop the process that reads the stream, or give this one another"
                " folder and other partitions",
                resource="stream state",
                name=str(path),
            ) from error
        except OSError as error:
            raise self._down(error) from error

    def load(self, stream: StreamDefinition) -> dict[str, NDArray[Any]] | None:
        """The arrays of the last `save`; None: there was none.

        Errors: CorruptArtifact for a file that does not read; Conflict for the state of another definition.
        """
        found = read(self._path)
        if found is None:
            return None
        if found.definition != stream.digest():
            raise errors.Conflict(
                f"`{self._path / _FILE}` holds the state of another definition of stream `{stream.name}`; give the changed stream"
                " another name, or move the file away, and the topic is read from its beginning",
                resource="stream state",
                name=stream.name,
            )
        return dict(found.arrays)

    def save(self, stream: StreamDefinition, arrays: Mapping[str, NDArray[Any]]) -> int:
        """Keep a state in the place of the last; on return it is on disk. Its bytes."""
        return self.replace(Snapshot(stream.digest(), stream.key_sets, arrays))

    def replace(self, snapshot: Snapshot) -> int:
        """As :meth:`save`, of what is known without its definition."""
        said: dict[str, Any] = {"layout": _LAYOUT, "definition": snapshot.definition}
        if snapshot.key_fields is not None:
            said["keys"] = [list(fields) for fields in snapshot.key_fields]
        meta = np.frombuffer(json.dumps(said).encode(), np.uint8)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{_META: meta}, **snapshot.arrays)
        try:
            durable.replace_file(self._path / _FILE, content.getvalue())
        except OSError as error:
            raise self._down(error) from error
        return content.getbuffer().nbytes

    def close(self) -> None:
        """Let go of the folder; twice is once."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _down(self, error: OSError) -> errors.DependencyDown:
        return errors.DependencyDown(
            f"stream state `{self._path}` cannot be written: {error}; check the disk", name="stream state"
        )
