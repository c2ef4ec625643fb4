"""What all groups of settings are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mainspring.core.contracts.capacity import Capacity

Port = Annotated[int, Field(ge=1, le=65535)]
#: Written out: lists of settings name its values.
AnyCapacity = Literal[Capacity.ON_DEMAND, Capacity.SPOT, Capacity.RESERVED]


class Group(BaseModel):
    # Docstrings of fields are for readers of these files: pydantic would parse them for each group, 40 ms of every process.
    model_config = ConfigDict(frozen=True, extra="forbid")
