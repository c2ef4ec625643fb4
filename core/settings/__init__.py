"""The one door for configuration: defaults, then `mainspring.toml`, then `MAINSPRING_*` variables.

Read once in each `main` by :func:`load`, checked completely (every problem in one message), then passed down;
no other file reads the environment. Three types keep the steps apart: :class:`Written` (one source, as found),
:class:`Merged` (key -> value and where it came from) and :class:`Settings` (what is in force, no Optionals).

A file key `[serving] port = 7701` and a variable `MAINSPRING_SERVING_PORT=7701` name the same setting. Unknown
keys are refused with the nearest known name. The file is `mainspring.toml` in the working directory, or the one
`MAINSPRING_CONFIG` names.
"""

from mainspring.core.settings.control import (
    AuditSettings,
    ControlSettings,
    IdentitySettings,
    NotebookSettings,
    QuotaSettings,
    SecretSettings,
)
from mainspring.core.settings.cost import CostSettings
from mainspring.core.settings.group import AnyCapacity, Group, Port
from mainspring.core.settings.reading import (
    GROUPS,
    KEYS,
    PREFIX,
    RESERVED,
    Merged,
    Settings,
    Written,
    child_environment,
    foreign_environment,
    inherited_trace,
    load,
    to_environment,
    variable,
)
from mainspring.core.settings.serving import ServingSettings, StreamSettings
from mainspring.core.settings.watching import (
    LineageSettings,
    MonitorSettings,
    ProtectionSettings,
    TelemetrySettings,
)
from mainspring.core.settings.work import (
    ModelSettings,
    NativeSettings,
    RaySettings,
    StackSettings,
    TrackingSettings,
    WorkflowSettings,
)

__all__ = [
    "AnyCapacity",
    "AuditSettings",
    "ControlSettings",
    "CostSettings",
    "GROUPS",
    "Group",
    "IdentitySettings",
    "KEYS",
    "LineageSettings",
    "Merged",
    "ModelSettings",
    "MonitorSettings",
    "NativeSettings",
    "NotebookSettings",
    "PREFIX",
    "Port",
    "ProtectionSettings",
    "QuotaSettings",
    "RESERVED",
    "RaySettings",
    "SecretSettings",
    "ServingSettings",
    "Settings",
    "StackSettings",
    "StreamSettings",
    "TelemetrySettings",
    "TrackingSettings",
    "WorkflowSettings",
    "Written",
    "child_environment",
    "foreign_environment",
    "inherited_trace",
    "load",
    "to_environment",
    "variable",
]
