"""What a plan found, as it is stored: the machine, the commit, and every run with every kill."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


def write(
    name: str, runs: list[dict[str, Any]], *, wanted: dict[str, Any], undisturbed_seconds: float
) -> dict[str, Any]:
    """Errors: OSError. Returns what was written."""
    hits = [hit for run in runs for hit in run["hits"]]
    recovered = sorted(hit["recovery_seconds"] for hit in hits)
    document = {
        "plan": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **_machine(),
        "undisturbed_seconds": round(undisturbed_seconds, 1),
        "runs": len(runs),
        "runs_as_undisturbed": sum(not run["different"] for run in runs),
        "points": len(hits),
        "points_survived": sum(len(run["hits"]) for run in runs if not run["different"]),
        "recovery_seconds": {q: _quantile(recovered, float(q)) for q in ("0.5", "0.95", "1.0")},
        "effects_of_an_undisturbed_run": wanted,
        "each": runs,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    return document


def _quantile(values: list[float], share: float) -> float | None:
    """The nearest rank."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else None


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ":/workflows"], capture_output=True, text=True
    )
    return {
        "cpu": next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown"
        ),
        "cores": os.cpu_count(),
        "load_average_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": (commit.stdout.strip() or "unknown") + ("+" if changed.stdout else ""),
    }
