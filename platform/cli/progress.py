"""How a long command tells where it is: a bar on a terminal, one line for each finished step elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class ConsoleProgress:
    """On stderr, so that stdout holds data only. Use it in a `with`."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description:12}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=None)
        self._stage = ""

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def line(self, text: str) -> None:
        """Something is done."""
        stamped = f"[{time.monotonic() - self._begun:6.1f} s] {text}"
        if self._bar:
            self._bar.console.print(stamped, markup=False, highlight=False)
        else:
            click.echo(stamped, err=True)

    def stage(self, name: str, fraction: float) -> None:
        """Something is under way; 0 means that it cannot tell how far."""
        if self._bar is None:
            return
        if name != self._stage:
            # A bar that has not told its end yet moves without one; elapsed time starts anew with each stage.
            self._bar.reset(self._task, total=None, description=name)
            self._stage = name
        if fraction > 0:
            self._bar.update(self._task, total=1.0, completed=fraction)
