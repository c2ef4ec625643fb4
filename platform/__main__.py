"""`python -m mainspring.platform`: the control API on its configured address."""

from __future__ import annotations

import contextlib
import sys
from types import FrameType
from typing import Final

import uvicorn

from mainspring.core import distribution, errors, identity, logs, settings
from mainspring.platform import app as control_app
from mainspring.platform.events import news
from mainspring.platform.http import traced
from mainspring.platform.runs import launcher
from mainspring.platform.schedules import engine

#: As uvicorn's own command: its log says why.
_NOT_STARTED: Final = 3


def main() -> int:
    """Serve until told to stop. Exit code 2: it takes no words; 78: misconfigured; 3: the application could not be started."""
    if words := sys.argv[1:]:
        print(
            f"error: the control API takes no `{' '.join(words)}`; commands are `mainspring`'s",
            file=sys.stderr,
        )
        return 2
    try:
        s = settings.load()
        logs.install(s.telemetry.logs, traced.SERVICE, distribution.version())
        identity.ensure_token_file(s.control.tokens_file)
        tokens = identity.FollowedTokens(s.control.tokens_file)
        issuer: identity.Issuer = tokens
        if s.identity.issuer:
            from mainspring.core import oidc  # an embedded stack starts without it

            issuer = oidc.issuer(s.identity, tokens)
        app = control_app.create_app(
            s,
            issuer=issuer,
            launcher=launcher.LazyLauncher(_launcher(s)),
            scheduler=engine.LazyScheduler(_scheduler(s)),
        )
    except errors.Misconfigured as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 78
    # Ours is installed already, and `http/traced.py` writes a line for each request.
    config = uvicorn.Config(
        app, host=s.control.host, port=s.control.port, log_config=None, access_log=False, ws="none"
    )
    server = _Server(config, app.state["news"])
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else _NOT_STARTED


class _Server(uvicorn.Server):
    """Ends watchers when it is told to stop: it waits for its connections, and theirs would not end."""

    def __init__(self, config: uvicorn.Config, watched: news.News) -> None:
        super().__init__(config)
        self._watched = watched

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._watched.close()
        super().handle_exit(sig, frame)


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
