"""The online store of a serving process: the newest feature row of every entity, in native tables, durable in a directory.

    <path>/lock                   held by the one process that has the store; another pushes over HTTP
    <path>/<view>/view.json       the view's definition
    <path>/<view>/rows/           its native table (mainspring.native.table), made by the first push, which tells the key types

A batch is on disk before it is visible, and visible before `upsert` returns. Reads take no lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.features import online_batch, online_directory, online_view
from mainspring.native import table as native_table

__all__ = ["Access", "OnlineStore"]

Access: TypeAlias = online_view.Access


class OnlineStore:
    """Implements `ports.OnlineFeatures`. `path` None: in memory only, gone with the process.

    With `access` "share" other processes of this host read the same rows in place, each by a store with `access` "read":
    it sees a batch when its writer does, and views when they are there. While the writer is away what it had is read;
    before it was ever there reads are DependencyDown.
    Threads: safe. Pushes to one view take turns; reads wait for nobody.
    Errors:  Conflict if another process has `path` open; CorruptArtifact if it is no store of ours.
    """

    def __init__(self, path: Path | None = None, *, access: Access = "own") -> None:
        if path is None and access != "own":
            raise errors.InvalidRequest(
                "a store in memory has nobody to share with; give `path`", field="path"
            )
        self._access: Final = access
        self._lock = threading.Lock()
        self._views: dict[str, online_view.OnlineView] = {}
        self._changed: Callable[[], None] = lambda: None
        self._directory = None
        if path is not None:
            self._directory = online_directory.OnlineDirectory(path, reads_only=access == "read")
            try:
                self._look()
            except BaseException:
                self.close()
                raise

    def register(self, view: ports.ViewSchema) -> None:
        """Make `view` known; the same schema again is no change, another one is Conflict."""
        online_batch.check_view(view)
        if self._access == "read":
            self._find(view.name)
        with self._lock:
            known = self._views.get(view.name)
            if known is None and self._access == "read":
                raise errors.DependencyDown(
                    f"view `{view.name}` is not in the online store yet, which another process writes; wait for that one",
                    name="online store",
                )
            if known is None:
                folder = None if self._directory is None else self._directory.add(view)
                # A new dict: readers look into the old one without a lock.
                self._views = {**self._views, view.name: self._made_view(view, folder)}
            elif known.view != view:
                raise errors.Conflict(
                    f"view `{view.name}` is registered as {known.view}, not as {view};"
                    " give the changed view another name, such as a version suffix",
                    resource="view",
                    name=view.name,
                )

    def views(self) -> tuple[ports.ViewSchema, ...]:
        """Every registered view, by name."""
        if self._access == "read":
            with self._lock:
                self._look()
        views = self._views
        return tuple(views[name].view for name in sorted(views))

    def tables(self) -> Mapping[str, native_table.OnlineTable]:
        """The native table of every view that has one, which its first push makes; for what reads them without Python."""
        views = self._views
        return {name: view.table for name, view in views.items() if view.table is not None}

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` now and whenever :meth:`tables` has one more, before the push that made it returns.

        One caller; it may be called from several threads at once.
        """
        self._changed = changed
        changed()

    def upsert(
        self,
        view: str,
        keys: ports.KeyColumns,
        *,
        event_us: NDArray[np.int64],
        created_us: NDArray[np.int64],
        columns: Mapping[str, Sequence[Any]],
    ) -> int:
        """Keep the newest row per key by (event time, created time), all of the batch or none of it.

        On equal times the later write wins, so a repeated push changes nothing. Times are UTC microseconds; None and
        NaN are null. Returns how many keys have another newest row.
        Errors: NotFound for an unknown view; SchemaMismatch for a wrong key, column, type or length;
        DependencyDown if the disk refuses, and then nothing of the batch is visible or kept.
        """
        if self._access == "read":
            raise errors.Conflict(
                "this process reads the online store of another one; push to the process that has it",
                resource="online store",
                name=view,
            )
        found = self._view(view)
        return found.upsert(online_batch.parse(found.view, keys, event_us, created_us, columns))

    def read(
        self, view: str, keys: ports.AskedKeys, *, now_us: int, fields: Sequence[str] | None = None
    ) -> ports.OnlineRows:
        """The newest row of each key as of `now_us` under the view's TTL.

        A row whose event time lies after `now_us` is NOT_FOUND: the store keeps no older one, and answering would
        tell the future. A null key (None) is NOT_FOUND. All rows of a call up to 4,096 are of one moment.
        Errors: NotFound for an unknown view or field; SchemaMismatch for a wrong key column or type.
        """
        return self._view(view).read(keys, now_us, fields)

    def held(self, views: Sequence[str], columns: Collection[str], key: str) -> dict[str, int]:
        """By view, how many rows have `key` in one of the key columns `columns`, whatever their age. Views that are not here have none."""
        found = {name: self._find(name) for name in views}
        return {name: len(view.keys_of(columns, key)) if view else 0 for name, view in found.items()}

    def forget(self, views: Sequence[str], columns: Collection[str], key: str) -> dict[str, int]:
        """Delete those rows: from memory, and from the disk. Again there is nothing to delete.

        Errors: Conflict for a store that another process writes; DependencyDown if the disk refuses.
        """
        if self._access == "read":
            raise errors.Conflict(
                "this process reads the online store of another one; ask the process that has it",
                resource="online store",
                name=", ".join(views),
            )
        found = {name: self._find(name) for name in views}
        return {name: view.forget(columns, key) if view else 0 for name, view in found.items()}

    def counts(self) -> dict[str, int]:
        """Rows held, by view."""
        views = self._views
        return {name: views[name].rows() for name in sorted(views)}

    def close(self) -> None:
        """Flush and let go of the directory; twice is once. A closed store refuses writes if it had one."""
        with self._lock:
            if self._directory is None:
                return
            with contextlib.ExitStack() as all_of_them:  # each is closed, whatever becomes of another
                all_of_them.callback(self._directory.close)
                for view in self._views.values():
                    all_of_them.callback(view.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _has_made_one(self) -> None:
        self._changed()

    def _made_view(self, view: ports.ViewSchema, folder: Path | None) -> online_view.OnlineView:
        return online_view.OnlineView(view, folder, self._has_made_one, self._access)

    def _look(self) -> None:
        """Take in the views of the directory that are not known yet. Under the lock, or before anybody else is there."""
        assert self._directory is not None
        found = {view.name: (view, folder) for view, folder in self._directory.views()}
        new = {name: self._made_view(*found[name]) for name in found if name not in self._views}
        self._views = {**self._views, **new}

    def _find(self, name: str) -> online_view.OnlineView | None:
        """The view; a reader looks for it again. None if it is not there."""
        found = self._views.get(name)
        if found is None and self._access == "read":
            with self._lock:
                self._look()
            found = self._views.get(name)
        return found

    def _view(self, name: str) -> online_view.OnlineView:
        found = self._find(name)
        if found is None:
            views = self._views
            raise online_view.unknown("view", name, tuple(views), where="the online store")
        return found
