"""What serving used arrives in the control API's ledger: both sides as they are, over the wire."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control
from mainspring.serving import admission, assembly, observed, usage

pytestmark = pytest.mark.integration

DIGEST = "sha256:" + "d" * 64


class Bundle:
    """The two things that metering asks a bundle."""

    digest = DIGEST
    project = "flight-delay"


def test_used_units_are_in_the_ledger_once_though_it_was_away_at_first(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    variables = {"MAINSPRING_CONTROL_PORT": str(port)}
    s = settings.load(variables, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    meter = usage.Meter()
    stack = contextlib.ExitStack()
    send = stack.enter_context(assembly.usage_sender(s, issuer))
    reporter = usage.Reporter(meter, send, s.serving.usage_spool, every_seconds=3600)
    asked = admission.Asked(3, False, {}, {})
    scored = observed.Scored(
        "flights",
        1,
        Bundle(),
        "stable",
        asked,
        {},
        np.zeros(3, np.float32),
        0,
        0.001,
        2_000_000,  # type: ignore[arg-type]
    )
    meter.observe(scored)
    reporter.report()
    assert reporter.sent_records == 0, "nobody is there yet"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")} | variables
    process = subprocess.Popen(
        [sys.executable, "-m", "mainspring.platform"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        with control_client.ControlClient(s.control_url, issuer.token_of("developer@local")) as client:
            deadline = time.monotonic() + 60
            while True:
                try:
                    client.create_project(control.ProjectCreate(name="flight-delay", owner="team"))
                    break
                except errors.Unavailable:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            meter.observe(scored)
            reporter.close()
            total = client.serving_usage(group_by="caller").groups["anonymous"]
    finally:
        stack.close()
        process.terminate()
        process.wait(60)
    assert (total.requests, total.predictions, total.cpu_microseconds) == (2, 6, 4000)
    assert (reporter.sent_records, reporter.lost_records) == (2, 0)
