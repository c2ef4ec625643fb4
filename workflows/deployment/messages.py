"""What the deployment says to its activities: one message in, one out, by name.

Names carry a version: a change that an older history could not replay with gets the next one beside it.
"""

from __future__ import annotations

from typing import Any, Final

from mainspring.core.contracts.base import Digest, Message, Slug
from mainspring.core.contracts.deployment import DeployRequest, EndpointView, TrafficTable
from mainspring.core.contracts.training import RunEvent

READ_ENDPOINT: Final = "mainspring.endpoint.read.v1"
LOAD_BUNDLE: Final = "mainspring.bundle.load.v1"
SET_TRAFFIC: Final = "mainspring.endpoint.set_traffic.v1"
RESTORE_TRAFFIC: Final = "mainspring.endpoint.restore_traffic.v1"
PROBE: Final = "mainspring.endpoint.probe.v1"
READ_STATS: Final = "mainspring.endpoint.read_stats.v1"
WATCH: Final = "mainspring.endpoint.watch.v1"
REPORT_EVENT: Final = "mainspring.run.report_event.v1"
ADMIT_BUNDLE: Final = "mainspring.bundle.admit.v1"
AFFORD: Final = "mainspring.deployment.afford.v1"
#: To a training, of its own deployment: a Told.
TOLD: Final = "deployment_told"


class ReadEndpoint(Message):
    endpoint: Slug


class EndpointFound(Message):
    """`view` is None where no traffic was ever set."""

    view: EndpointView | None = None
    released_version: int = 0
    """Where there is no traffic: the last version that there was, 0 for none. Versions go on."""


class LoadBundle(Message):
    digest: Digest
    environment: str = ""
    """Whose rules it must pass first; empty: of a release that did not say, and then those of `prod`."""


class SetTraffic(Message):
    """Put `table` in force; its version is one above the one in force, and repeating it is no change."""

    table: TrafficTable
    project: str = ""
    """Whose lineage has it."""


class RestoreTraffic(Message):
    """Give `previous` its traffic back, unless somebody other than `run_id` moved it since."""

    previous: TrafficTable
    run_id: str
    project: str = ""
    """Whose lineage has it."""


class Restored(Message):
    """`version` is in force now; `changed` is False where there was nothing to undo, or it was not ours to undo."""

    version: int
    changed: bool
    message: str = ""


class Probe(Message):
    """Send up to `rows` of the project's recorded requests, each at most once, from number `skip` on, round and round."""

    endpoint: Slug
    project: Slug
    rows: int
    skip: int = 0


class Probed(Message):
    """`failed` of `sent` probes were answered with an error; `message` has the first, or why none were sent."""

    sent: int
    failed: int
    message: str = ""

    @property
    def figures(self) -> dict[str, Any]:
        """For the report of a step."""
        said = {"probe_message": self.message} if self.message else {}
        return {"probes": self.sent, "probes_failed": self.failed, **said}


class ReadStats(Message):
    endpoint: Slug


class Watch(Message):
    """Look at a canary that is paused until it is to go back, or its traffic is not `traffic_version` any more."""

    request: DeployRequest
    traffic_version: int
    role: str = "canary"
    """`shadow` while it answers nobody."""


class ReportEvent(Message):
    event: RunEvent


class AdmitBundle(Message):
    """Whether it would be let in now; it is not loaded."""

    digest: Digest
    environment: str


class Afford(Message):
    """Whether what was paid for when it was started may still be spent, at the end of a wait."""

    run_id: str
    project: Slug
    environment: str = ""
    """Empty in messages of a release without budgets of environments."""


class Told(Message):
    """What is going on, for whoever looks at the run above."""

    message: str
