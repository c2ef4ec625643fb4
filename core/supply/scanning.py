"""Looks through somebody else's files for code that runs when they are read: ours, and picklescan as a second opinion.

The one file that imports picklescan. Either one's word is enough to refuse a file: ours knows no harmless pickle, picklescan knows
formats and tricks of archives that ours does not look for.
"""

from __future__ import annotations

import importlib.metadata
import io
import logging
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from mainspring.core import errors
from mainspring.core.models import manifest, pickles
from mainspring.core.supply import provenance

RULE: Final = "import.scanned"

#: Formats that are made to be unpickled, whatever is in them.
_CODE_ON_LOAD: Final = frozenset(
    {".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt", ".bin", ".npy", ".npz"}
)
_MAX_BYTES: Final = 2 << 30


def scan(folder: Path) -> dict[str, bytes]:
    """Every file of the folder by its path in it, each looked through.

    Errors: InvalidRequest for a link, a special or hidden file, or more than 2 GiB; PolicyDenied (`import.scanned`) naming the file that
    may run code, or that cannot be looked into.
    """
    files: dict[str, bytes] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode) or not manifest.is_safe(name):
            raise errors.InvalidRequest(
                f"`{name}` is a link, special or hidden file; import a folder of plain files", field=name
            )
        total += path.stat().st_size
        if total > _MAX_BYTES:
            raise errors.InvalidRequest(
                f"the folder has more than {_MAX_BYTES} bytes; import the model's own files alone", field=name
            )
        files[name] = path.read_bytes()
    check(files)
    return files


def check(files: Mapping[str, bytes]) -> None:
    """Errors: PolicyDenied (`import.scanned`)."""
    from picklescan import scanner

    # It warns of each file that is none of its formats, which is what one hopes for.
    logging.getLogger("picklescan").setLevel(logging.ERROR)
    for name, data in files.items():
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in _CODE_ON_LOAD:
            raise _denied(name, f"files `{suffix}` are pickles, or may be")
        if pickles.is_pickle(data):
            raise _denied(name, "it is a pickle, or has one in it")
        # By what it may be, too: a scanner that goes by names is led by names.
        for kind in {suffix, ".zip"} if data[:2] == b"PK" else {suffix}:
            found = scanner.scan_bytes(io.BytesIO(data), name, kind)
            if found.infected_files or found.issues_count or found.scan_err:
                told = (
                    ", ".join(sorted({f"{g.module}.{g.name}" for g in found.globals}))
                    or "it cannot be looked into"
                )
                raise _denied(name, f"picklescan says: {told}")


def scanners() -> tuple[provenance.Scan, ...]:
    """What looked beside our own, which every bundle passes."""
    return (provenance.Scan("picklescan", importlib.metadata.version("picklescan")),)


def _denied(name: str, why: str) -> errors.PolicyDenied:
    return errors.PolicyDenied(
        f"rule `{RULE}` denies it: `{name}` may run code when it is read: {why}; export the model as ONNX, safetensors or"
        " `torch.export`",
        rule_id=RULE,
    )
