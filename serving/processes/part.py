"""What one of several processes is told by the one that started it, as arguments of its command line."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainspring.core import settings

#: Of the folder that the processes share: where followers reach the one that writes.
WRITER_SOCKET: Final = "writer.sock"

#: Of that folder: what callers have left, for all of them.
LIMITS: Final = "limits"


@dataclass(frozen=True)
class Part:
    """One process of several. Numbers of files are those that it inherited."""

    index: int
    """0: it has the online store and the traffic, and answers changes; others read and follow."""
    folder: Path
    """Of all of them, for this user alone."""
    listeners: tuple[int, ...]
    """Of the port. All of them accept on the same sockets, so what waits there waits for nobody in particular."""
    writer: int
    """The socket behind WRITER_SOCKET; the supervisor has it too, so a request waits while the writer starts anew."""
    lifeline: int
    """Ends when the supervisor does."""

    @property
    def follows(self) -> bool:
        return self.index > 0

    @property
    def limits(self) -> Path:
        """The accounts of callers that all processes share."""
        return self.folder / LIMITS

    @property
    def inherited(self) -> tuple[int, ...]:
        """Every file that the process needs. A follower does not accept what is the writer's."""
        return (*self.listeners, *(() if self.follows else (self.writer,)), self.lifeline)

    def arguments(self) -> list[str]:
        """What :func:`of_arguments` reads."""
        return [
            f"--part={self.index}",
            f"--folder={self.folder}",
            f"--listeners={','.join(map(str, self.listeners))}",
            f"--writer={self.writer}",
            f"--lifeline={self.lifeline}",
        ]

    def sockets(self) -> list[socket.socket]:
        """The port's."""
        return [_adopted(number) for number in self.listeners]

    def writer_socket(self) -> socket.socket | None:
        """What the writer answers its followers on; None in those."""
        return None if self.follows else _adopted(self.writer)

    def end_with_supervisor(self) -> None:
        """Stop, as by SIGTERM, once the supervisor is gone, killed or not: nobody would start or stop this process."""

        def wait() -> None:
            os.read(self.lifeline, 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, name="lifeline", daemon=True).start()

    def settings_of(self, serving: settings.ServingSettings) -> settings.ServingSettings:
        """A follower has no gRPC port and no front, which would not see traffic change, and spools usage beside the writer's."""
        if not self.follows:
            return serving if self.listeners else serving.model_copy(update={"front": "off"})
        spool = serving.usage_spool
        own = spool.with_name(f"{spool.stem}-{self.index}{spool.suffix}")
        return serving.model_copy(update={"grpc_port": 0, "front": "off", "usage_spool": own})


def of_arguments(arguments: Sequence[str]) -> Part:
    """Ends the process, as argparse does, for arguments that are not :meth:`Part.arguments`."""
    parser = argparse.ArgumentParser("mainspring.serving")
    for name in ("part", "writer", "lifeline"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--listeners", required=True)
    told = parser.parse_args(arguments)
    numbers = tuple(int(number) for number in told.listeners.split(",") if number)
    return Part(told.part, told.folder, numbers, told.writer, told.lifeline)


def _adopted(number: int) -> socket.socket:
    adopted = socket.socket(fileno=number)
    adopted.setblocking(False)
    return adopted
