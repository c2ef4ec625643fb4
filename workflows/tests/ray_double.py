"""What stands for Ray's Jobs API in tests without a cluster: a real HTTP server whose jobs go through scripted states."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "t0ken"
ENDED_MS = 1_795_500_000_000


@dataclass
class RayDouble:
    """`script`: submission id -> the states that GET tells, one after the other; the last stays. Default: SUCCEEDED."""

    url: str = ""
    script: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, str | None] = field(default_factory=dict)
    """By submission id; None: Ray knows of the job and has no log of it."""
    submitted: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    looks: int = 0
    broken_looks: int = 0
    """How many of the next looks answer 500."""
    started_ms: int | None = None
    lost: bool = False
    """At the next look the cluster has forgotten everything."""
    execute: Callable[[str], str] | None = None
    """Runs a submitted command to its end and says which; in the place of a script."""
    deaf: int = 0
    """How many of the next requests to stop are answered, and stop nothing."""
    running: threading.Event = field(default_factory=threading.Event)
    """Set at the first look that tells RUNNING."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "POST" and path == "/api/jobs/":
            return self._submit(body)
        if method == "GET" and path == "/api/jobs/":
            driver = {"type": "DRIVER", "submission_id": None, "status": "RUNNING"}
            return 200, [driver, *(self._told(sid, job["states"][0]) for sid, job in self.jobs.items())]
        sid, _, verb = path.removeprefix("/api/jobs/").partition("/")
        if sid not in self.jobs:
            return 404, f"Job {sid} does not exist"
        if verb == "stop":
            self.stopped.append(sid)
            if self.deaf:
                self.deaf -= 1
                return 200, {"stopped": False}
            self.jobs[sid]["states"] = ["STOPPED"]
            return 200, {"stopped": True}
        if verb == "logs":
            log = self.logs.get(sid, f"log of {sid}")
            return (404, f"no log of {sid}") if log is None else (200, {"logs": log})
        return self._look(sid)

    def _submit(self, body: Any) -> tuple[int, Any]:
        sid = body["submission_id"]
        if sid in self.jobs:
            return (
                500,
                f"Traceback ...\nRuntimeError: Job with submission_id {sid} already exists. Please use another.",
            )
        self.submitted.append(sid)
        end = self.execute(body["entrypoint"]) if self.execute is not None else "SUCCEEDED"
        self.jobs[sid] = {"states": list(self.script.get(sid, [end])), "body": body}
        return 200, {"job_id": sid, "submission_id": sid}

    def _look(self, sid: str) -> tuple[int, Any]:
        self.looks += 1
        if self.lost:
            self.lost = False
            self.jobs.clear()
            return 404, f"Job {sid} does not exist"
        if self.broken_looks:
            self.broken_looks -= 1
            return 500, "Traceback ...\nRuntimeError: no agent"
        states = self.jobs[sid]["states"]
        state = states.pop(0) if len(states) > 1 else states[0]
        if state == "RUNNING":
            self.running.set()
        return 200, self._told(sid, state)

    def _told(self, sid: str, state: str) -> dict[str, Any]:
        return {
            "metadata": self.jobs[sid]["body"].get("metadata"),
            "type": "SUBMISSION", "submission_id": sid, "status": state, "message": f"it is {state}",
            "entrypoint": "x",
            "start_time": self.started_ms,
            "end_time": ENDED_MS if state in ("SUCCEEDED", "FAILED", "STOPPED") else None, "error_type": None,
        }  # fmt: skip


@contextlib.contextmanager
def serve(double: RayDouble) -> Iterator[RayDouble]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _go(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                status, value = 401, "Unauthorized"
            else:
                with lock:
                    status, value = double.answer(self.command, self.path, body)
            data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _go

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
