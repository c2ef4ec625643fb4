"""`python -m mainspring.platform`: the control API on its configured address."""

from __future__ import annotations

import sys

import uvicorn

from mainspring.core import errors, identity, settings
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher
from mainspring.platform.schedules import engine


def main() -> int:
    """Serve until told to stop. Exit code 78: misconfigured."""
    try:
        s = settings.load()
        issuer: identity.Issuer = identity.ensure_token_file(s.control.tokens_file)
        if s.identity.issuer:
            from mainspring.core import oidc  # an embedded stack starts without it

            issuer = oidc.issuer(s.identity, identity.TokenIssuer.load(s.control.tokens_file))
        app = control_app.create_app(
            s,
            issuer=issuer,
            launcher=launcher.LazyLauncher(_launcher(s)),
            scheduler=engine.LazyScheduler(_scheduler(s)),
        )
    except errors.Misconfigured as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 78
    uvicorn.run(app, host=s.control.host, port=s.control.port, log_level="info", ws="none")
    return 0


# Temporal's client takes 0.6 s to import, and the API answers all that needs no run without it.


def _launcher(s: settings.Settings) -> launcher.Connect:
    async def connect() -> launcher.RunLauncher:
        from mainspring.core.client import workflows

        return await workflows.WorkflowClient.connect_by(s.workflow)

    return connect


def _scheduler(s: settings.Settings) -> engine.Connect:
    async def connect() -> engine.Scheduler:
        from mainspring.core.client import schedules

        return await schedules.ScheduleClient.connect_by(s.workflow)

    return connect


if __name__ == "__main__":
    sys.exit(main())
