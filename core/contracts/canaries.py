"""What people order of a canary that runs: updates of `mainspring.DeployModel.v1`, and what the control API takes and tells of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from mainspring.core.contracts.base import Message, Percent, Request, Slug

#: Where a status has its canary: `detail.canary`, a :class:`CanaryState`. Absent while none is judged.
CANARY_DETAIL: Final = "canary"

#: What the id of a training's own deployment ends with; a run of kind `deploy` is its deployment itself.
CHILD: Final = "deploy"


class CanaryOrder(StrEnum):
    """Also the name of the update."""

    PAUSE = "pause"
    """The traffic stays as it is and the step's time stands still; a breach still rolls back."""
    RESUME = "resume"
    PROMOTE = "promote"
    """Go on to another share without the gates up to there."""
    ABORT = "abort"
    """Give the traffic back."""


class Steer(Message):
    """Argument of the updates `pause`, `resume`, `promote` and `abort`."""

    by: str
    reason: str = ""
    to_percent: Percent = 0
    """Of `promote`: a later step's share, or 100; 0: the next one's."""
    roles: tuple[str, ...] = ()
    """Those that `by` has for the run, as the control API found them. Going past a gate needs approver or admin."""
    order_id: str = ""
    """On record with what came of it, so that whoever asks again learns that it was taken."""


class CanaryState(Message):
    """A canary that is judged now."""

    percent: Percent
    is_shadow: bool = False
    """It is asked as a shadow and answers nobody yet; `percent` is 0."""
    is_waiting: bool = False
    """Nothing of it is in the traffic yet: other deployments to its endpoint are before it, and it can be aborted; `percent` is 0."""
    later_percents: tuple[Percent, ...] = ()
    """Shares that it still has to be judged at, before it takes all."""
    is_paused: bool = False
    paused_by: str = ""
    reason: str = ""
    """Why it is paused."""


class CanaryCreate(Request):
    """Order something of the canary of a run."""

    order: CanaryOrder
    reason: Annotated[str, Field(min_length=3, max_length=2000)]
    """On record with it."""
    to_percent: Percent = 0
    """Of `promote`: a later step's share, or 100; 0: the next one's."""


class CanaryView(Message):
    """The canary of a run as it is now; `percent` is 0 where none is judged, and where it is a shadow yet."""

    run_id: str
    deployment_id: str
    """The workflow that judges it: of a training a child of its own, which is what traffic tables name as `set_by`."""
    project: Slug
    environment: str
    endpoint: str
    percent: Percent = 0
    is_shadow: bool = False
    """It is asked as a shadow and answers nobody yet."""
    is_waiting: bool = False
    """Other deployments to its endpoint are before it: it can be aborted."""
    later_percents: tuple[Percent, ...] = ()
    is_paused: bool = False
    paused_by: str = ""
    reason: str = ""
    message: str = ""
    """What its deployment says of itself."""
    version: str = ""
    """For `If-Match`: of the share and of the pause, not of progress."""
