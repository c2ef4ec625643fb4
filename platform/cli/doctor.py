"""What this machine lacks, and the command that mends it. Looks, imports nothing."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from mainspring.core import errors, settings
from mainspring.platform.stack import processes

#: One telling package per extra's need; the extra installs all of them.
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "platform": ("litestar", "sqlalchemy", "aiosqlite", "uvicorn"),
    "serving": ("fastapi", "torch", "safetensors", "uvicorn"),
    "training": ("ray", "mlflow", "feast", "polars", "duckdb", "torch"),
}


def examine(s: settings.Settings) -> list[dict[str, str]]:
    """One row a check: `check`, `ok` (`yes` or `no`), `found`, `fix` (empty when ok)."""
    return [
        {"check": check, "ok": "no" if fix else "yes", "found": found, "fix": fix}
        for check, found, fix in _checks(s)
    ]


def _checks(s: settings.Settings) -> Iterator[tuple[str, str, str]]:
    version = ".".join(str(n) for n in sys.version_info[:3])
    yield "python", version, "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer"
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++") or ""
    yield "compiler", compiler or "none", "" if compiler else "apt-get install g++"
    for name, port in (("control.port", s.control.port), ("serving.port", s.serving.port)):
        yield name, str(port), _port_fix(port, name)
    for extra, packages in PACKAGES.items():
        absent = [p for p in packages if importlib.util.find_spec(p) is None]
        fix = f"pip install 'mainspring[{extra}]'" if absent else ""
        yield f"extra {extra}", f"lacks {', '.join(absent)}" if absent else "complete", fix


def _port_fix(port: int, name: str) -> str:
    try:
        processes.check_port_free(port, name)
    except errors.PortInUse:
        variable = f"{settings.PREFIX}{name.replace('.', '_').upper()}"
        return f"mainspring down, or export {variable}=<a free port>"
    return ""
