"""How far a step under way is: told by its activity's heartbeats, read by whoever looks at its run."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mainspring.core.contracts.base import Message

__all__ = ["EPOCH", "PARTS", "ROWS", "TRIALS", "StepProgress"]

#: What steps are counted in; others may come.
EPOCH: Final = "epoch"
ROWS: Final = "rows"
PARTS: Final = "parts"
TRIALS: Final = "trials"


class StepProgress(Message):
    """Of one step. It is told for people: what is done is decided by the files that `checkpoint` points to."""

    step: str
    """As in the run's reports; of a pipeline the step's own name."""
    done: Annotated[int, Field(ge=0)] = 0
    of: Annotated[int, Field(ge=0)] = 0
    """0: nobody knows how much there is to do."""
    unit: str = ""
    checkpoint: str = ""
    """Where its work lies that is not lost: a path, or an address of an object store. Empty: none yet."""
    message: str = ""
    """What else it says of itself."""

    @property
    def fraction(self) -> float:
        """0 to 1; 0 as well where it cannot be told."""
        return min(1.0, self.done / self.of) if self.of else 0.0

    @property
    def words(self) -> str:
        """For people: `epoch 3 of 8 (checkpoint /data/...)`."""
        counted = f"{self.done} of {self.of}"
        count = f"{EPOCH} {counted}" if self.unit == EPOCH else f"{counted} {self.unit}".rstrip()
        said = ", ".join(part for part in (count if self.of else "", self.message) if part)
        return f"{said} (checkpoint {self.checkpoint})".lstrip() if self.checkpoint else said
