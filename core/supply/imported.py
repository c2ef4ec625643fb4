"""What the signed provenance of an imported model says of where it came from."""

from __future__ import annotations

from typing import Final

from mainspring.core import errors
from mainspring.core.contracts import control
from mainspring.core.supply import builders, provenance

__all__ = ["FOLDER", "RULES", "origin"]

#: The material that all files of the folder are.
FOLDER: Final = "folder"
#: What an import has passed when it is signed, in the order in which `importing.read` asks.
RULES: Final = ("import.scanned", "import.licence", "import.tried")


def origin(found: provenance.Provenance) -> control.ModelImported:
    """Errors: InvalidRequest for a bundle that was not imported."""
    if found.builder != builders.IMPORT:
        raise errors.InvalidRequest(
            f"the bundle was built by `{found.builder}`, and not imported; import the model by `mainspring model import`, or train it",
            field="bundle_digest",
        )
    folders = [m.digest.get("sha256", "") for m in found.materials if m.name == FOLDER]
    return control.ModelImported(
        source=str(found.parameters.get("source", "")),
        licence=str(found.parameters.get("licence", "")),
        folder_digest=f"sha256:{folders[0]}" if folders else "",
        scanners=found.scanners,
        rules=tuple(map(str, found.parameters.get("rules", ()))),
    )
