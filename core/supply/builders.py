"""Who may have built a bundle: ids of builders, and the file beside the trusted keys that says which are believed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mainspring.core import errors

#: In the trust directory: one builder a line, ours by their short names, others by their URI. No file: `KNOWN`.
FILE: Final = "builders.txt"

_OURS: Final = "urn:mainspring:builder:"
#: TrainModel's activities, after data, leak check, gates and evaluation.
TRAIN: Final = _OURS + "train"
#: `mainspring model import`: somebody else's model, scanned.
IMPORT: Final = _OURS + "import"
#: A program that called `BundleStore.write` with the key at hand.
LIBRARY: Final = _OURS + "library"
#: Somebody vouched, by name and with a reason, for a bundle of a release that wrote none: `mainspring bundle attest`.
ATTESTED: Final = _OURS + "attested"
#: No provenance at all: bundles of releases that wrote none.
UNATTESTED: Final = _OURS + "unattested"

#: Those that are believed where nothing else is said; `UNATTESTED` is not among them.
KNOWN: Final = frozenset({TRAIN, IMPORT, LIBRARY, ATTESTED})
#: Behind which stands a process with gates and a record: what staging and prod take.
GOVERNED: Final = frozenset({TRAIN, IMPORT})


def read(directory: Path) -> frozenset[str]:
    """The builders that are believed; a file without any believes nobody.

    Errors: InvalidSettings for a line that is neither a name of ours nor a URI.
    """
    try:
        lines = (directory / FILE).read_text().splitlines()
    except FileNotFoundError:
        return KNOWN
    short = {b.removeprefix(_OURS): b for b in (*KNOWN, UNATTESTED)}
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if wrong := [name for name in names if name not in short and ":" not in name]:
        problem = f"`{FILE}` beside the trusted keys names {wrong}; use {', '.join(sorted(short))}, or a builder's URI"
        raise errors.InvalidSettings(problem, problems=(problem,))
    return frozenset(short.get(name, name) for name in names)
