"""Prices, budgets and tags."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mainspring.core.settings.group import Group

#: A key of a tag and the values that it may have.
_TAG = r"[a-z][a-z0-9_.-]{0,62}(=[^,|=()]+(\|[^,|=()]+)*)?"


class CostSettings(Group):
    """Price book of metered quantities, in `currency`.

    What nodes differ in has a rate for each capacity: `cpu_core_hour`, `memory_gib_hour` and `gpu_hour` are of nodes on demand, and
    none of the others follows from them. Defaults are public orders of magnitude: spot nodes, whose price a market makes, cost a
    third of those on demand, and nodes reserved for a year six tenths.
    """

    currency: str = "USD"
    """ISO 4217 code of every price here."""
    cpu_core_hour: Annotated[float, Field(ge=0)] = 0.04
    """One core for one hour; about the on-demand rate of a general-purpose cloud core."""
    memory_gib_hour: Annotated[float, Field(ge=0)] = 0.005
    """One GiB of memory for one hour."""
    gpu_hour: Annotated[float, Field(ge=0)] = 2.5
    """One data-centre GPU for one hour."""
    spot_cpu_core_hour: Annotated[float, Field(ge=0)] = 0.013
    """One core of a spot node for one hour."""
    spot_memory_gib_hour: Annotated[float, Field(ge=0)] = 0.0017
    """One GiB of memory of a spot node for one hour."""
    spot_gpu_hour: Annotated[float, Field(ge=0)] = 0.85
    """One data-centre GPU of a spot node for one hour."""
    reserved_cpu_core_hour: Annotated[float, Field(ge=0)] = 0.024
    """One core of a node reserved for a year for one hour."""
    reserved_memory_gib_hour: Annotated[float, Field(ge=0)] = 0.003
    """One GiB of memory of a node reserved for a year for one hour."""
    reserved_gpu_hour: Annotated[float, Field(ge=0)] = 1.5
    """One data-centre GPU of a node reserved for a year for one hour."""
    storage_gib_month: Annotated[float, Field(ge=0)] = 0.023
    """One GiB kept for a month; about the on-demand rate of an object store. A month has 730 hours."""
    thousand_predictions: Annotated[float, Field(ge=0)] = 0.001
    """A thousand predicted rows."""
    million_events: Annotated[float, Field(ge=0)] = 0.08
    """A million events that a reader of streams took in; about the on-demand rate of a managed stream for a kilobyte each."""
    required_tags: Annotated[str, Field(pattern=rf"^(|{_TAG}(,{_TAG})*)$")] = ""
    """Tags that each project must have, by comma, such as `team,cost-centre=a1|b2`: after `=` the values that there are; empty: none.
    A project is not made without them."""
    enforce_tags: Literal["refuse", "tell"] = "refuse"
    """What comes of a project that was there before a tag was required: it starts no run and is not changed without its tags, or its
    runs say what it lacks."""
    close_days: Annotated[float, Field(ge=0, le=60)] = 3.0
    """A month is closed so long after its end: usage of it that is put on record later is billed in the next one, as a correction."""
    shared_projects: Annotated[str, Field(pattern=r"^(|[a-z0-9-]+(,[a-z0-9-]+)*)$")] = ""
    """Projects whose costs are of all others, by comma: a chargeback shares them among its receivers; empty: none."""
    storage_minutes: Annotated[float, Field(gt=0, le=1440)] = 60.0
    """Between two measurements of what projects keep: each worker makes them, and what is kept meanwhile is charged as it began."""
    run_reservation: Annotated[float, Field(ge=0)] = 0.1
    """Kept free in the project's budget for a run that says no `max_cost`; two cores for the hour that it may train cost 0.08."""
    reservation_hours: Annotated[float, Field(gt=0)] = 24.0
    """What is kept free for a run whose end nobody reports is let go of after so long."""
