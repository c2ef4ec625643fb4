"""What every suite shares: its command line, and how a target is recorded beside what was measured."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any


def goal(
    name: str,
    value: float | None,
    unit: str,
    ratio: float | None,
    peer: str | None,
    target: float,
    *,
    ok: bool,
) -> dict[str, Any]:
    """A target beside what was measured, to four digits; where it is missed, add a short `why`."""
    return {
        "name": name,
        "value": rounded(value),
        "unit": unit,
        "ratio": rounded(ratio),
        "peer": peer,
        "target": target,
        "ok": ok,
    }


def parser(suite: str, about: str | None, *, quick: str) -> argparse.ArgumentParser:
    """`--quick`, `--json` and `--output`, which every suite has; `quick` says what is less then."""
    made = argparse.ArgumentParser(prog=f"python -m mainspring.bench {suite}", description=about)
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--json", action="store_true", help="one JSON object on stdout")
    made.add_argument("--output", type=pathlib.Path, help="also write the JSON to this file")
    return made


def show(
    result: dict[str, Any], arguments: argparse.Namespace, table: Callable[[dict[str, Any]], str]
) -> None:
    """Print the result as asked, and write it where asked."""
    text = json.dumps(result, indent=1)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    print(text if arguments.json else table(result))


def exit_code(result: dict[str, Any]) -> int:
    """1 if any answer was wrong."""
    return 0 if all(row["correct"] for row in result["results"]) else 1


def rounded(x: float | None) -> float | None:
    """To four digits."""
    return None if x is None else float(f"{x:.4g}")
