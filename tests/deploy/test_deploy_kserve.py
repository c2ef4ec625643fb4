"""`components/kserve`: the command of the runtime, in its environment, serves a signed bundle and none that was changed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bundle_answers
import httpx
import numpy as np
import pytest
from manifests import environment, of_kind, pod
from serving_process import free_port

pytestmark = pytest.mark.integration


@contextlib.contextmanager
def running(tmp_path: Path, digest: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """As the pod runs it, but for where things lie; the process and its address."""
    container = pod("prod", "mainspring").spec["containers"][0]
    (named,) = of_kind("prod", "InferenceService")["example"]["spec"]["predictor"]["model"]["env"]
    there = environment("prod", container) | {named["name"]: named["value"]}
    moved = {
        there["MAINSPRING_STACK_STATE_DIR"]: str(tmp_path / "state"),
        there["MAINSPRING_SERVING_BUNDLE_DIR"]: str(tmp_path / "bundles"),
        there["MAINSPRING_SERVING_TRUSTED_KEYS_DIR"]: str(tmp_path / "trusted"),
    }

    def here(text: str) -> str:
        for path, own in moved.items():
            text = text.replace(path, own)
        return text

    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    variables = {
        **{name: here(value) for name, value in there.items()},
        named["name"]: f"{named['value'].partition('=')[0]}={digest}",
        "MAINSPRING_SERVING_PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
    }
    process = subprocess.Popen(
        [here(word) for word in container["command"]],
        env=kept | variables,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_it_answers_as_its_bundle_and_nobody_changes_what_it_serves(tmp_path: Path) -> None:
    bundle = bundle_answers.SignedBundle(tmp_path)
    with running(tmp_path, bundle.digest) as (process, url), httpx.Client(trust_env=False) as client:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline
            with contextlib.suppress(httpx.HTTPError):
                if client.get(f"{url}/v2/health/ready").status_code == 200:
                    break
            time.sleep(0.1)
        model = f"{url}/v2/models/example/infer"
        answer = client.post(model, json=bundle_answers.ASKED).json()
        assert answer["model_version"] == bundle.digest
        assert np.array_equal(np.float32(answer["outputs"][0]["data"]), bundle.answer())
        assert client.post(model, json=bundle_answers.INCOMPLETE).status_code == 400
        unload = f"{url}/v2/repository/models/example/unload"
        assert client.post(unload).status_code == 401
        assert client.post(unload, headers={"authorization": "Bearer any"}).status_code == 401
    assert process.returncode == 0


def test_it_does_not_start_with_a_bundle_that_was_changed(tmp_path: Path) -> None:
    bundle = bundle_answers.SignedBundle(tmp_path)
    bundle.change()
    with running(tmp_path, bundle.digest) as (process, _):
        assert process.wait(60) == 78
        assert process.stderr is not None
        said = process.stderr.read()
    assert "tensor model `example` needs bundle" in said and "damaged" in said
