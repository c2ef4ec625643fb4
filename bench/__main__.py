"""`python -m mainspring.bench SUITE ...`: one door to every suite; what follows the name is the suite's own.

Suites are imported when they are asked for: one of them needs servers and another numba, and neither needs both.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

#: Each has a `__main__.py` with `main(argv) -> int | None`.
SUITES: Final = {
    "native": "the kernels against their peers, and issue 3's targets",
    "serving": "the data plane against a bare server and plain FastAPI",
    "gpu": "every GPU kernel, where there is a GPU",
    "demo": "the whole platform, cold and warm",
}


def main(argv: list[str] | None = None) -> int:
    """The suite's exit code; 2 where there is no such suite."""
    arguments = sys.argv[1:] if argv is None else argv
    listed = "\n".join(f"  {name:8} {what}" for name, what in SUITES.items())
    name = arguments[0] if arguments else None
    if name in ("-h", "--help"):
        print(f"usage: python -m mainspring.bench SUITE ...\n\n{listed}")
        return 0
    if name not in SUITES:
        got = f"no suite `{name}`" if name else "which suite?"
        print(f"{got}; name one of them, and --help for its options:\n{listed}", file=sys.stderr)
        return 2
    suite = importlib.import_module(f"mainspring.bench.{name}.__main__")
    code: int | None = suite.main(arguments[1:])
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
