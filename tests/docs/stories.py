"""Running the documents' blocks: each alone in an empty folder, or a story's one after the other in one shell, as a person would."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import documents

_BIN: Final = Path(sys.executable).parent
#: Ports of the stack from its base on.
_PORTS: Final = 200


@dataclass(frozen=True)
class Story:
    """Blocks that need what others did before them. `before` is done first, `after` in any case."""

    before: str = ""
    after: str = ""
    timeout_seconds: float = 300


#: By the name that marks give: `<!-- run: control -->`.
STORIES: Final[Mapping[str, Story]] = {
    "control": Story(
        before="mainspring up --only temporal --only control\nmainspring project create flight-delay --owner eva@example.org --as admin@local\n",
        after="mainspring down\n",
        timeout_seconds=300,
    ),
    "quickstart": Story(after="mainspring down\n", timeout_seconds=1000),
}


def of(story: str) -> list[documents.Block]:
    """Its blocks in the order of the documents, and of each document."""
    return [b for path in documents.documents() for b in documents.blocks(path) if b.mark == f"run: {story}"]


def alone() -> list[documents.Block]:
    """Blocks that need nothing of another one."""
    return [b for path in documents.documents() for b in documents.blocks(path) if b.mark == "run"]


def script(blocks: Sequence[documents.Block], before: str = "") -> str:
    """What bash is given. A block ends at the first command that fails; where each begins is said on stderr."""
    parts = ["set -euo pipefail", before]
    for block in blocks:
        parts += [f"echo '== {block.where}' >&2", block.commands]
    return "\n".join(parts)


def run(text: str, folder: Path, *, timeout_seconds: float) -> None:
    """Run commands in `folder`. Errors: AssertionError with the end of what they said."""
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def play(story: str, folder: Path) -> None:
    """A whole story. Whatever it started has ended afterwards."""
    told = STORIES[story]
    try:
        run(script(of(story), told.before), folder, timeout_seconds=told.timeout_seconds)
    finally:
        if told.after:
            run(told.after, folder, timeout_seconds=60)


def environment(folder: Path) -> dict[str, str]:
    """This interpreter's commands first, no setting of ours, and ports of the folder's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    remembered = folder / ".port-base"
    if not remembered.exists():
        remembered.write_text(str(free_base()))
    path = f"{_BIN}{os.pathsep}{kept.get('PATH', os.defpath)}"
    assert shutil.which("mainspring", path=path), "this interpreter has no `mainspring`; run `make setup`"
    ours = {
        "MAINSPRING_STACK_PORT_BASE": remembered.read_text(),
        "MAINSPRING_STACK_START_TIMEOUT_SECONDS": "400",  # a busy machine is slow, and no fault of a document
    }
    return {**kept, "PATH": path, **ours}


def free_base() -> int:
    """The first of enough ports that nobody listens on, of some at random: in a network of its own every port is free, and
    Ray's folder of sockets is named by it all the same."""
    for _ in range(50):
        base = 24_000 + _PORTS * secrets.randbelow(150)
        try:
            for port in range(base, base + 20):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")
