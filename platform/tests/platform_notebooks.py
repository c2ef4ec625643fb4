"""A control API on loopback for those who start processes that speak to it, by settings in a file of its home."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher


@contextmanager
def served(home: Path, **notebooks: object) -> Iterator[settings.Settings]:
    """Listens where its settings say; `notebooks` are keys of that group."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        lines = [f"{name} = {value}" for name, value in notebooks.items()]
        (home / "mainspring.toml").write_text(
            "\n".join([f"[control]\nport = {port}", "[notebooks]", *lines]) + "\n"
        )
        s = settings.load({}, directory=home)
        issuer = identity.ensure_token_file(s.control.tokens_file)
        app = control_app.create_app(s, issuer=issuer, launcher=launcher.MemoryLauncher())
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield s
        finally:
            server.should_exit = True
            thread.join()


def client(s: settings.Settings, role: str) -> control_client.ControlClient:
    issuer = identity.TokenIssuer.load(s.control.tokens_file)
    return control_client.ControlClient(s.control_url, issuer.token_of(f"{role}@local"))
