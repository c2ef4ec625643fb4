"""What the last accepted batch of a dataset looked like, in one small file each: what the next one is compared with."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from mainspring.core import durable, errors
from mainspring.core.quality import expectations
from mainspring.core.quality.report import QualityReport

__all__ = ["Accepted"]

_LOG: Final = logging.getLogger(__name__)
_FILE: Final = "accepted.json"


class Accepted:
    """`<folder>/<dataset>/accepted.json`. One writer at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, dataset: str) -> QualityReport | None:
        """None before the first. Errors: CorruptArtifact."""
        path = self._folder / dataset / _FILE
        try:
            return QualityReport.from_json(json.loads(path.read_bytes()), where=str(path))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise errors.CorruptArtifact(
                f"`{path}` is no JSON: {error}; remove it, and the next batch is compared with nothing",
                artifact=str(path),
            ) from error

    def keep(self, suite: expectations.Suite, report: QualityReport) -> bool:
        """Keep the report of a batch that was accepted; False for one that is too small to be a population.

        The rows are in by then: a disk that refuses is logged, and the comparison after the next start is with an older one.
        """
        compared = [e for e in suite.expectations if isinstance(e, expectations.Distribution)]
        if not compared or report.rows < max(e.min_rows for e in compared):
            return False
        path = self._folder / suite.dataset / _FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.replace_file(path, report.to_bytes().decode())
        except OSError as error:
            _LOG.warning("what `%s` looks like is not kept: %s; check the disk", suite.dataset, error)
        return True
