"""What the jobs of runs wrote, kept for when Ray has forgotten them: bounded, and without what looks like a credential.

One file a job, `projects/<project>/job_logs/<run>/<job>.log` below the state directory: its first line is what Ray told of the job,
the others are the end of its log. Whoever reads sees it whole, or not at all.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pydantic import ValidationError

from mainspring.core import durable, errors, ids, logs
from mainspring.core.contracts import run_logs

__all__ = ["MAX_JOB_BYTES", "MAX_LINE_CHARACTERS", "MAX_RUN_BYTES", "JobLogs", "began", "part"]

_LOG: Final = logging.getLogger(__name__)
_VERSION: Final = 1
#: Of one line: what is longer is data and no message.
MAX_LINE_CHARACTERS: Final = 4_000
#: Of one job's log its end is kept: a training writes some 50 kB, and what a job fails of stands last.
MAX_JOB_BYTES: Final = 1 << 20
#: Of all jobs of a run: a pipeline may have thousands. The oldest go first.
MAX_RUN_BYTES: Final = 64 << 20
#: The longest private key that is looked for; whatever begins one and does not end it hides no more than this.
_KEY_LINES: Final = 250
#: Colours and cursors of terminals, and other characters that are no text.
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_CUT: Final = "[what the job wrote before is not kept]"


def part(text: str, start: int, limit: int) -> tuple[tuple[str, ...], int, int]:
    """`limit` lines from number `start` on (-1: the last ones), the number of the first, and how many there are.

    Only what is told is redacted, line by line: what a job wrote may be long, and is not to keep others waiting.
    """
    lines = _lines(text)
    first = _first(len(lines), start, limit)
    return _told(lines, first, first + limit), first, len(lines)


def _lines(text: str) -> list[str]:
    whole = _CONTROL.sub("", text).rstrip("\n")
    return whole.split("\n") if whole else []


def _first(total: int, start: int, limit: int) -> int:
    return max(0, total - limit) if start < 0 else min(start, total)


def _told(lines: Sequence[str], first: int, end: int) -> tuple[str, ...]:
    keys = _of_keys(lines)
    return tuple(
        logs.HIDDEN if number in keys else logs.redacted(line[:MAX_LINE_CHARACTERS])
        for number, line in enumerate(lines[first:end], start=first)
    )


def _of_keys(lines: Sequence[str]) -> set[int]:
    """Numbers of the lines that are inside of a private key, which may begin before what is told."""
    found: set[int] = set()
    left = 0
    for number, line in enumerate(lines):
        if left:
            found.add(number)
            left = 0 if "-----END" in line else left - 1
        elif "PRIVATE KEY-----" in line and "-----BEGIN" in line and "-----END" not in line:
            left = _KEY_LINES
    return found


@dataclass(frozen=True)
class JobLogs:
    """Those of one project. Several processes may read; one writes a job's log at a time."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path, project: str) -> JobLogs:
        """Errors: InvalidRequest for a name that is none: it is a part of a path."""
        return cls(state_dir / "projects" / ids.check_slug(project, "project") / "job_logs")

    def keep(self, run_id: str, job: run_logs.LogJob, text: str, *, is_cut: bool = False) -> None:
        """The end of what the job wrote, in the place of what was kept of it. `is_cut`: `text` has not its beginning.

        Errors: OSError; InvalidRequest for an id that is none.
        """
        lines = _lines(text)
        first = _kept_from(lines)
        told = _told(lines, first, len(lines))
        if is_cut or first:
            told = (_CUT, *told)
        head = json.dumps({"version": _VERSION, "job": job.model_dump(mode="json")})
        content = "\n".join((head, *told)).encode(errors="replace")
        folder = self._folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{quote(job.name, safe='')}.log"
        _make_room(folder, path, len(content))
        durable.replace_file(path, content)

    def jobs(self, run_id: str) -> tuple[run_logs.LogJob, ...]:
        """Those of which something is kept, in the order in which they began. What cannot be read is left out, and said in the log."""
        found = []
        for path in sorted(self._folder(run_id).glob("*.log")):
            try:
                with path.open(encoding="utf-8") as file:
                    found.append(_job(file.readline()))
            except (OSError, ValueError, KeyError) as error:
                _LOG.warning("`%s` is no kept log of a job: %s", path, error)
        return tuple(sorted(found, key=began))

    def part(self, run_id: str, name: str, start: int, limit: int) -> tuple[tuple[str, ...], int, int]:
        """As :func:`part`, of what is kept. Errors: NotFound."""
        path = self._folder(run_id) / f"{quote(name, safe='')}.log"
        try:
            lines = path.read_text(encoding="utf-8").split("\n")[1:]
        except FileNotFoundError as error:
            raise errors.NotFound(
                f"nothing is kept of job `{name}` of run `{run_id}`; ask without it for the newest",
                resource="job",
                name=name,
            ) from error
        first = _first(len(lines), start, limit)
        return tuple(lines[first : first + limit]), first, len(lines)

    def _folder(self, run_id: str) -> Path:
        if not run_id.replace("_", "").replace("-", "").isalnum():
            raise errors.InvalidRequest(f"`{run_id}` is no id of a run", field="run_id")
        return self.root / run_id


def _kept_from(lines: Sequence[str]) -> int:
    """The number of the first line that is kept: whole lines, up to the limit, from the end."""
    size = 0
    for number in range(len(lines) - 1, -1, -1):
        size += len(lines[number][:MAX_LINE_CHARACTERS].encode(errors="replace")) + 1
        if size > MAX_JOB_BYTES:
            return number + 1
    return 0


def _make_room(folder: Path, path: Path, size: int) -> None:
    others = sorted(
        (one for one in folder.glob("*.log") if one != path), key=lambda one: one.stat().st_mtime_ns
    )
    sizes = {one: one.stat().st_size for one in others}
    left = MAX_RUN_BYTES - size - sum(sizes.values())
    for one in others:
        if left >= 0:
            return
        one.unlink(missing_ok=True)
        left += sizes[one]


def _job(line: str) -> run_logs.LogJob:
    """Errors: ValueError, KeyError for what no version of ours wrote."""
    head = json.loads(line)
    if head["version"] != _VERSION:
        raise ValueError(f"it has version {head['version']}, and {_VERSION} is read here")
    try:
        return run_logs.LogJob.model_validate(head["job"])
    except ValidationError as error:
        raise ValueError(str(error)) from error


def began(job: run_logs.LogJob) -> float:
    """What jobs are ordered by. One that waits has begun nothing yet."""
    return float("inf") if job.started_at is None else job.started_at.timestamp()
