"""Where a result comes from: enough to know later whether two of them may be compared."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

from mainspring.native import targets


def describe() -> dict[str, Any]:
    """CPU, governor, load, commit, versions and the target in force."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "load_average_1m": round(os.getloadavg()[0], 2),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("numpy", "numba", "polars", "scikit-learn", "torch")},
        "target_in_force": targets.in_force(),
        "targets": list(targets.available()),
    }


def _read(path: str) -> str | None:
    file = pathlib.Path(path)
    return file.read_text().strip() if file.exists() else None


def _cpu() -> str:
    lines = (_read("/proc/cpuinfo") or "").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    """The checkout's commit, with `+` where native or bench were edited since."""
    here = pathlib.Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        name = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        state = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", ":/native", ":/bench/native/*.py"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):  # an installed wheel has no history
        return "unknown"
    return name.stdout.strip() + ("+" if state.stdout else "")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
