"""A sample of what the online store answers, on record for the skew check: chosen here from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core import errors, ports, settings

if TYPE_CHECKING:
    from mainspring.core.monitoring import read_log

__all__ = ["start"]


def start(
    online: ports.OnlineFeatures, serving: settings.ServingSettings
) -> tuple[ports.OnlineFeatures, read_log.ReadLog | None]:
    """`online` with a share of its reads recorded, and the log to close at the end; as it is where none is wanted.

    Errors: MissingTool without PyArrow, which only this and Arrow answers need.
    """
    if not serving.record_reads:
        return online, None
    try:
        from mainspring.core.monitoring import read_log
    except ModuleNotFoundError as error:
        raise errors.MissingTool(
            f"`serving.record_reads` needs package `{error.name}`; run `pip install pyarrow`, or set it to 0",
            tool=str(error.name),
            fix="pip install pyarrow",
        ) from error
    log = read_log.ReadLog(serving.reads_dir, max_bytes=serving.reads_max_bytes)
    return read_log.RecordedFeatures(online, log, serving.record_reads), log
