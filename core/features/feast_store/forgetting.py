"""A Feast repository whose online rows of one key are found, and forgotten: with our online store, which alone can.

Feast's own interface of online stores has no call that deletes a key.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from feast import FeatureStore

from mainspring.core import errors
from mainspring.core.features import feast_adapter as _  # noqa: F401 - takes back what Feast puts into the environment
from mainspring.core.features import row_log, row_table
from mainspring.core.features.feast_store import online, online_plan

__all__ = ["OnlineRows"]

#: Is a value of the join key of that name the subject's.
IsKey = Callable[[str, Any], bool]


@dataclass(frozen=True)
class _View:
    table: str
    join_keys: tuple[str, ...]
    """In the order of a key's parts."""


class OnlineRows:
    """The online rows of a repository, as they are on disk.

    Errors: Misconfigured for a folder that is no repository that Feast opens; those of the store's file.
    """

    def __init__(self, repository: Path) -> None:
        try:
            self._store = FeatureStore(repo_path=str(repository))
            self._views = [self._view(v) for v in self._registered()]
        except Exception as error:  # Feast raises what its parts raise
            raise errors.Misconfigured(
                f"`{repository}` is no repository that Feast opens: {error}; correct its `feature_store.yaml`, or declare another place"
            ) from error
        self.why_not = self._why_not()
        """Why its rows cannot be searched; empty: they can."""
        self._path = self._file(repository)

    def counts(self, is_key: IsKey) -> list[int]:
        """By view that has some, how many rows: of every batch that is on disk, older rows of a key too."""
        if self._path is None or not self._path.exists():
            return []
        log = row_log.RowLog(self._path)
        try:
            return [n for n in self._counted(log, is_key).values() if n]
        finally:
            log.close()

    def forget(self, is_key: IsKey) -> None:
        """Processes that have the file open see it as they see any write. No byte of it is left in the file, and a table that has no
        row of the key stays as it is."""
        if self._path is None or not self._path.exists():
            return
        log = row_log.RowLog(self._path)
        try:
            counts = self._counted(log, is_key)
            for view in self._views:
                if counts.get(view.table):
                    log.rewrite(view.table, functools.partial(_without, is_key, view.join_keys))
            log.tidy()
        finally:
            log.close()

    def _counted(self, log: row_log.RowLog, is_key: IsKey) -> dict[str, int]:
        keys = {view.table: view.join_keys for view in self._views}
        found = dict.fromkeys(keys, 0)
        for _seq, name, data in log.since(0):
            if data is not None and name in keys:
                found[name] += int(_theirs(row_log.decode(data)[0], keys[name], is_key).sum())
        return found

    def _registered(self) -> Iterator[Any]:
        yield from self._store.list_feature_views()
        yield from self._store.list_stream_feature_views()

    def _view(self, view: Any) -> _View:
        names = sorted(column.name for column in view.entity_columns)
        return _View(online_plan.table_id(self._store.config, view), tuple(names))

    def _why_not(self) -> str:
        options = self._store.config.online_store
        if not isinstance(options, online.MainspringOnlineStoreConfig):
            return f"its online store is `{options.type}`, and Feast has no call that deletes a key: delete it there by its own means"
        return "" if options.path else "its rows are in the memory of whoever has it open: start that anew"

    def _file(self, repository: Path) -> Path | None:
        return None if self.why_not else (repository / self._store.config.online_store.path).resolve()


def _theirs(
    rows: row_table.Rows, join_keys: tuple[str, ...], is_key: IsKey
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    theirs = np.zeros(len(rows.keys), np.bool_)
    for place, name in enumerate(join_keys):
        for i, key in enumerate(rows.keys):
            theirs[i] |= is_key(name, key[place] if isinstance(key, tuple) else key)
    return theirs


def _without(is_key: IsKey, join_keys: tuple[str, ...], data: bytes) -> bytes | None:
    rows, fields = row_log.decode(data)
    stays = ~_theirs(rows, join_keys, is_key)
    if stays.all():
        return data
    if not stays.any():
        return None
    kept = row_table.Rows(
        [key for key, is_kept in zip(rows.keys, stays, strict=True) if is_kept],
        rows.event_us[stays],
        rows.created_us[stays],
        {name: values[stays] for name, values in rows.values.items()},
        {name: nulls[stays] for name, nulls in rows.nulls.items()},
    )
    return row_log.encode(kept, fields)
