"""`python -m mainspring.bench monitoring count|year|throughput`: what `docs/monitoring.md` says of it is from here.

`count` fits, freezes, answers, logs and counts, and leaves the year's sums; `year` has them judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from mainspring.bench.native import machine

RESULTS = Path(__file__).parent / "results"
#: The year's sums, which a test has judged as well.
STORED = Path(__file__).parent / "tests" / "stored"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m mainspring.bench monitoring")
    parser.add_argument("what", choices=("count", "year", "throughput"))
    parser.add_argument("--into", type=Path, default=RESULTS)
    parser.add_argument("--rows", type=int, default=10_000_000)
    asked = parser.parse_args(arguments)
    asked.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="monitoring-") as folder:
        if asked.what == "count":
            found = _count(Path(folder))
        elif asked.what == "year":
            found = _year()
        else:
            found = _throughput(Path(folder), asked.rows)
    found["machine"] = machine.describe()
    path = asked.into / f"{asked.what}.json"
    path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    print(json.dumps(found, indent=2, sort_keys=True))
    return 0


def _count(folder: Path) -> dict[str, Any]:
    from mainspring.bench.monitoring import year

    kept = year.keep(folder)
    STORED.mkdir(parents=True, exist_ok=True)
    kept.write(STORED)
    return {"days": kept.outcomes.height, "answers": int(kept.outcomes["counts"].list.sum().sum())}


def _year() -> dict[str, Any]:
    from mainspring.bench.monitoring import year

    kept = year.Kept.read(STORED)
    reports = list(year.checks(kept))
    found = year.opened(reports)
    inputs = sorted({f.subject for r in reports for f in r.findings if f.kind == "inputs"})
    days = {name: sum(any(f.subject == name for f in r.findings) for r in reports) for name in inputs}
    return {
        "checks": len(reports),
        "alerts": found,
        **year.judge(found, kept),
        "days_on_which_an_input_moved": days,
        "sensitivity": year.sensitivity(kept, reports),
    }


def _throughput(folder: Path, rows: int) -> dict[str, Any]:
    from mainspring.bench.monitoring import throughput

    return throughput.measure(folder, rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
