"""Online stores of Feast repositories that an operator declares, as a place of an erasure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mainspring.core.contracts.erasure import Found, Uncovered
from mainspring.core.erasure.matching import BySubject

if TYPE_CHECKING:
    from mainspring.core.features.feast_store import forgetting

__all__ = ["FeastOnline"]

_CONFIG: Final = "feature_store.yaml"


@dataclass(frozen=True)
class FeastOnline:
    """Those of the declared folders that are repositories. A store that cannot delete a key is not covered.

    Rows are those on disk: every batch of before counts.
    """

    uris: Sequence[str]
    name: str = "online stores of Feast"

    def find(self, subject: BySubject) -> Found:
        counts, uncovered = list[int](), list[Uncovered]()
        for folder, rows in self._stores():
            counts += rows.counts(subject.is_key)
            if rows.why_not:
                uncovered.append(
                    Uncovered(what=f"online rows of Feast repository `{folder}`", why=rows.why_not)
                )
        return Found(place=self.name, rows=sum(counts), items=len(counts), uncovered=uncovered)

    def erase(self, subject: BySubject) -> Found:
        rows = items = 0
        for _, store in self._stores():
            counts = store.counts(subject.is_key)
            # Also where there are none: a process that died may have left bytes of them in the file.
            store.forget(subject.is_key)
            rows, items = rows + sum(counts), items + len(counts)
        return Found(place=self.name, rows=rows, items=items)

    def _stores(self) -> Iterator[tuple[Path, forgetting.OnlineRows]]:
        for uri in self.uris:
            if uri.startswith("/") and (Path(uri) / _CONFIG).is_file():
                # Importing Feast takes seconds, and most projects declare no repository.
                from mainspring.core.features.feast_store import forgetting

                yield Path(uri), forgetting.OnlineRows(Path(uri))
