"""`python -m mainspring.core.pipelines.build FILE`: builds a pipeline in a process of its own and writes its pack.

Importing a file runs it: who builds what somebody else wrote does so here, with nothing of its own around. The
parameters are JSON on stdin; on stdout comes `{"pack": ...}` or `{"error": ...}`, as the last line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mainspring.core import errors, settings
from mainspring.core.contracts import pipelines
from mainspring.core.pipelines import loading

__all__ = ["apart"]

_MODULE: Final = "mainspring.core.pipelines.build"
_SECONDS: Final = 120.0


def apart(file: Path, name: str, parameters: Mapping[str, Any]) -> pipelines.Pack:
    """The pack of a pipeline, built in another process, without our settings. Errors: those of `loading`; JobFailed."""
    command = [sys.executable, "-m", _MODULE, str(file), "--pipeline", name]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(dict(parameters)),
            env=settings.foreign_environment({}),
            cwd=file.parent,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise errors.JobFailed(
            f"`{file.name}` took more than {_SECONDS:.0f} s to build; let it do its work in steps",
            status="timeout",
        ) from error
    lines = done.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        said = " ".join(done.stderr.split())[-300:]
        raise errors.JobFailed(
            f"`{file.name}` ended without a pipeline: {said}; mend it", status="died"
        ) from error
    if "error" in answer:
        raise errors.from_wire(answer["error"])
    return pipelines.Pack.model_validate(answer["pack"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="build", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--pipeline", default="")
    arguments = parser.parse_args()
    answer: dict[str, Any]
    try:
        pack = loading.load(arguments.file, arguments.pipeline).pack(**json.load(sys.stdin))
        answer = {"pack": pack.model_dump(mode="json", exclude_defaults=True)}
    except errors.MainspringError as error:
        answer = {"error": errors.to_wire(error)}
    print("\n" + json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
