"""What every handler of the control API works with, chosen once in `app.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mainspring.core import identity, settings
from mainspring.core import secrets as core_secrets
from mainspring.platform import database
from mainspring.platform.audit import checkpoints
from mainspring.platform.decisions import log as read_log
from mainspring.platform.events import news
from mainspring.platform.policies import engine as policy_engine
from mainspring.platform.runs import launcher
from mainspring.platform.schedules import engine


@dataclass
class Chosen:
    """What is in force by now, whole: only `policies/in_force.py` changes it."""

    policies: policy_engine.PolicyEngine


@dataclass(frozen=True)
class KeyFiles:
    """Where this control API sees the keys of others, which are those that it lists."""

    trusted_dir: Path
    """Public halves of who signs bundles, and their marks."""
    payloads: Path


@dataclass(frozen=True)
class ControlPlane:
    """The parts of one control API."""

    database: database.Database
    issuer: identity.Issuer
    launcher: launcher.RunLauncher
    book: settings.CostSettings
    train_workers: int
    """Data-parallel workers of a training, from `ray.train_workers`."""
    checkpointer: checkpoints.Checkpointer | None = None
    """Signs the audit log's head; None: what was cut off its end is not shown."""
    state_dir: Path | None = None
    """Where the workers' folders are, on their machine; None: elsewhere, and nothing is released from here."""
    bundle_dir: Path | None = None
    """Where bundles are, for what is proved of them; None: elsewhere."""
    scheduler: engine.Scheduler = field(default_factory=engine.MemoryScheduler)
    """What runs by the clock; by default nothing does."""
    chosen: Chosen = field(default_factory=lambda: Chosen(policy_engine.PolicyEngine.load()))
    """What changes while it runs; by default our own policies alone."""
    control: settings.ControlSettings = field(default_factory=settings.ControlSettings)
    """How long access may last, and where alarms go."""
    serving: settings.ServingSettings = field(default_factory=settings.ServingSettings)
    """Where serving is asked what it does, and where bundles and the keys that are trusted are."""
    ray: settings.RaySettings = field(default_factory=settings.RaySettings)
    """Where the jobs of runs are, for their logs; and how few workers a training may do with."""
    protection: settings.ProtectionSettings | None = None
    """Where data keys are; None: elsewhere, and nothing is done with them from here."""
    key_files: KeyFiles = KeyFiles(Path("keys/trusted"), Path("keys/payload.keys"))
    news: news.News = field(default_factory=news.News)
    """Who watches what goes on record."""
    monitor: settings.MonitorSettings = field(default_factory=settings.MonitorSettings)
    """How people are told of alerts."""
    quotas: settings.QuotaSettings = field(default_factory=settings.QuotaSettings)
    """What a project may have at once that nobody has set otherwise."""
    secrets: core_secrets.Resolver = field(
        default_factory=lambda: core_secrets.Resolver(settings.SecretSettings())
    )
    """Reads what references to secrets lead to, where this API itself needs one."""

    reads: read_log.ReadLog = field(default_factory=read_log.ReadLog)
    """What the policies answered about reads, until it is written."""

    @property
    def policies(self) -> policy_engine.PolicyEngine:
        """Who may do what, as of now: whoever asks more than once for one request keeps it."""
        return self.chosen.policies
