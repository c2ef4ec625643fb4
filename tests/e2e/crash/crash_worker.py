"""`python crash_worker.py BOUNDARIES`: a worker for each path that is read from stdin, which is its ready file.

The workers are as they are, with their activities' boundaries watched. They are forked from one process that has imported all
they need, because dozens of them are killed, and what an import costs is not what is asked here.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from crash_boundaries import Boundaries, Watched

from mainspring.workflows import worker


def be_worker(boundaries: Boundaries, ready_file: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(0)
    sys.argv[1:] = ["--ready-file", ready_file]
    code = worker.main(around=[Watched(boundaries)])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as the worker itself ends


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    folder = Boundaries(Path(sys.argv[1]))
    for line in iter(sys.stdin.readline, ""):
        if os.fork() == 0:
            be_worker(folder, line.strip())
