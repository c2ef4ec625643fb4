"""`python -m mainspring.bench SUITE ...`: one door to every suite; what follows the name is the suite's own.

Suites are imported when they are asked for: one of them needs servers and another numba, and neither needs both.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

#: Each is a folder with a `__main__.py`, whose `main(argv)` gives an exit code or None.
SUITES: Final = {
    "native": "the kernels against their peers, and issue 3's targets",
    "serving": "the data plane against a bare server and plain FastAPI",
    "features": "features through Feast's calls, online against Redis, offline against its DuckDB store",
    "workflows": "orchestration, cancellations, deployments under load, the replay guard, the thin client",
    "platform": "the control plane: decisions, audit, verification, requests, tamperings, a budget race",
    "gpu": "every GPU kernel, where there is a GPU",
    "demo": "the whole platform, cold and warm",
    "monitoring": "a day of ten million answers, and a year of alarms that were true or false",
    "templates": "what made projects reach on all of their data",
}

#: Where a folder is not called as its suite: bench/platform would hide the standard library's module from whoever has
#: bench/ on its path, as pytest does.
FOLDERS: Final = {"platform": "control_plane"}


def module_of(name: str) -> str:
    """Where a suite's `main` is."""
    return f"mainspring.bench.{FOLDERS.get(name, name)}.__main__"


def main(argv: list[str] | None = None) -> int:
    """The suite's exit code; 2 where there is no such suite."""
    arguments = sys.argv[1:] if argv is None else argv
    listed = "\n".join(f"  {name:10} {what}" for name, what in SUITES.items())
    name = arguments[0] if arguments else None
    if name in ("-h", "--help"):
        print(f"usage: python -m mainspring.bench SUITE ...\n\n{listed}")
        return 0
    if name not in SUITES:
        got = f"no suite `{name}`" if name else "which suite?"
        print(f"{got}; name one of them, and --help for its options:\n{listed}", file=sys.stderr)
        return 2
    suite = importlib.import_module(module_of(name))
    code: int | None = suite.main(arguments[1:])
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
