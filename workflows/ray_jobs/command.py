"""What every Ray job of ours does as a command: `--spec SPEC.json --out OUT.json`, an answer or an error in OUT.json."""

from __future__ import annotations

import argparse
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

from mainspring.core import errors
from mainspring.core.contracts.base import Message
from mainspring.workflows.ray_jobs import job_files, observed

__all__ = ["connect", "run"]


def run(name: str, what: str, description: str, work: Callable[[Path, str | None], Message]) -> int:
    """`work` gets the spec's path and the cluster's address; the exit code is 0 with its answer, 1 with an error.

    `what` is the job in one word: `training`.
    """
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--spec", type=Path, required=True, help="what to do, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="where the answer or the error goes")
    parser.add_argument(
        "--ray-address",
        help="a Ray cluster, or `local` for one of our own; default: as Ray finds it, within a job its cluster",
    )
    arguments = parser.parse_args()
    arguments.out.unlink(missing_ok=True)
    answer: Message | errors.MainspringError
    try:
        with observed.job(what):
            answer = work(arguments.spec, arguments.ray_address)
    except errors.MainspringError as error:
        answer = error
    except Exception as error:  # noqa: BLE001 - who waits for OUT.json must learn of our mistakes too
        traceback.print_exc()
        answer = errors.InvariantViolated(
            f"{what} job crashed with {type(error).__name__}: {error}; report it with the job's log",
            where=f"ray_jobs.{name}",
        )
    job_files.write_output(arguments.out, answer)
    if isinstance(answer, errors.MainspringError):
        print(f"error: {answer.message}", file=sys.stderr)
        return 1
    return 0


def connect(address: str | None, num_workers: int, environment: Mapping[str, str]) -> None:
    """`environment` is for Ray's own processes. Errors: DependencyDown."""
    alone: dict[str, Any] = (
        {"num_cpus": num_workers, "include_dashboard": False} if address == "local" else {}
    )
    try:
        if address and ":" in address:
            # Ray itself gives up after some minutes only.
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, runtime_env={"env_vars": dict(environment)}, **alone)
    except (OSError, ValueError, ray.exceptions.RayError) as error:
        raise errors.DependencyDown(
            f"ray at `{address or 'its default address'}` does not answer: {error}; start it with `mainspring up`",
            name="ray",
        ) from error
