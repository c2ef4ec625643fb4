"""`python crash_worker.py BOUNDARIES --ready-file PATH`: the worker as it is, with its activities' boundaries watched."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from crash_boundaries import Boundaries, Watched

from mainspring.workflows import worker

if __name__ == "__main__":
    watched = Watched(Boundaries(Path(sys.argv.pop(1))))
    code = worker.main(around=[watched])
    sys.stdout.flush()
    os._exit(code)  # as the worker itself ends
