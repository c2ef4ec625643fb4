"""A Ray of a test's own, and a job as the workflow submits it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from mainspring.core import errors
from mainspring.core.contracts.base import Message

M = TypeVar("M", bound=Message)


@contextlib.contextmanager
def started(
    folder: Path, num_cpus: int, variables: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """It ends with this process; its `ADDRESS` and the environment of whoever speaks to it."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text("0123456789abcdef" * 4)
    environment = {
        **os.environ,
        **(variables or {}),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }
    code = (
        f"import ray, sys; c = ray.init(address='local', num_cpus={num_cpus}, include_dashboard=False);"
        " print(c.address_info['gcs_address'], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as ray:
        assert ray.stdout is not None and ray.stdin is not None
        yield {**environment, "ADDRESS": ray.stdout.readline().strip()}
        ray.stdin.close()


class Job(Generic[M]):
    """The command as the workflow submits it. `read` is of its messages: what it answered."""

    def __init__(
        self,
        cluster: dict[str, str],
        folder: Path,
        spec: Message,
        module: str,
        read: Callable[[Path], M],
        *,
        seconds: float,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.out, self._read, self._seconds = folder / "out.json", read, seconds
        (folder / "spec.json").write_text(spec.model_dump_json())
        self.log = folder / "log.txt"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", module),
                    *("--spec", str(folder / "spec.json"), "--out", str(self.out)),
                    *("--ray-address", cluster["ADDRESS"]),
                ],
                stdout=log,
                stderr=log,
                env=cluster,
                start_new_session=True,
            )

    def wait(self) -> int:
        """The exit code; a job that does not end is killed."""
        try:
            return self.process.wait(timeout=self._seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(self.log.read_text())

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def output(self) -> M:
        assert self.wait() == 0, self.log.read_text()
        return self._read(self.out)

    def error(self) -> errors.MainspringError:
        assert self.wait() == 1, self.log.read_text()
        with pytest.raises(errors.MainspringError) as raised:
            self._read(self.out)
        return raised.value
