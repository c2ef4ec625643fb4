"""`python -m mainspring.bench demo`: run the demo cold, then warm, and print one JSON object with both reports.

Cold is a fresh state directory with everything installed; warm is the same command again. The answer is checked
before it counts: the quality gates, the served scores against the offline ones, the audit chain.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mainspring.bench.native import machine

#: A float32 model gives one row and a batch of rows the same score up to the order of its sums.
_SAME_SCORE = 1e-6


def measure(sample_fraction: float, predictions: int) -> dict[str, Any]:
    """Both runs, checked. Errors: SystemExit with the demo's own words if a run fails; AssertionError if one lies."""
    with tempfile.TemporaryDirectory(prefix="mainspring-demo-") as folder:
        runs = {name: _run(Path(folder), sample_fraction, predictions) for name in ("cold", "warm")}
    return {"schema": "mainspring.bench.demo/v1", "machine": machine.describe(), "runs": runs}


def _run(folder: Path, sample_fraction: float, predictions: int) -> dict[str, Any]:
    argv = [sys.executable, "-m", "mainspring.platform.cli.main", "demo", "--no-keep", "--json"]
    argv += ["--sample-fraction", str(sample_fraction), "--predictions", str(predictions)]
    done = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"the demo ended with {done.returncode}; its words are above")
    report: dict[str, Any] = json.loads(done.stdout)["data"]
    assert report["predictions"] == predictions
    assert report["online_offline_max_difference"] <= _SAME_SCORE, "served scores are not the offline ones"
    assert report["audit_intact"], "the audit chain is broken"
    assert report["rolled_back"]["callers_failed"] == 0, (
        "a caller met more of the bad candidate than its latency"
    )
    return report


def main(argv: list[str] | None = None) -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(prog="python -m mainspring.bench demo", description=__doc__)
    parser.add_argument("--sample-fraction", type=float, default=1.0)
    parser.add_argument("--predictions", type=int, default=1000)
    asked = parser.parse_args(argv)
    print(json.dumps(measure(asked.sample_fraction, asked.predictions), indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
