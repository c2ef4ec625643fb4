"""`python -m mainspring.serving`: the data plane, one process or `serving.processes` of them, until SIGTERM or Ctrl-C.

Exit codes: 0 stopped as asked; 78 misconfigured, with one line on stderr that says what to do; 1 any other error.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import sys
from types import FrameType
from typing import Any, Final, NoReturn

from mainspring.core import errors, settings
from mainspring.native import front as native
from mainspring.serving import assembly, logs, server

EXIT_MISCONFIGURED: Final = 78  # EX_CONFIG of sysexits.h


def main() -> int:
    """Load settings once, take the port, open the store, serve."""
    # uvicorn raises the signal that ended it once more; as SystemExit it lets the store close and the code be 0.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        told, on_ray = None, sys.argv[1:] == ["--ray"]
        if sys.argv[1:] and not on_ray:  # of one of several processes, which alone needs it
            from mainspring.serving.processes import part as parts

            told = parts.of_arguments(sys.argv[1:])
        in_force = settings.load()
        logs.install(in_force)
        if told is None:
            check_grpc_port(in_force.serving)
            if on_ray:
                return serve_on_ray(in_force)
            if in_force.serving.processes > 1:
                return supervise(in_force.serving)
        else:
            told.end_with_supervisor()
            in_force = in_force.model_copy(update={"serving": told.settings_of(in_force.serving)})
        with contextlib.ExitStack() as opened:
            bound = bind(in_force.serving) if told is None else told.sockets()
            listeners = [opened.enter_context(one) for one in bound]
            made = assembly.assembled(in_force, told, opened)
            # log_config: ours is installed already.
            how: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False}
            how |= {} if made.certificates is None else made.certificates.for_uvicorn()
            behind = None if told is None else told.writer_socket()
            server.Server(made.app, listeners, made.front, behind=behind, **how).run()
    except errors.MainspringError as error:
        print(f"mainspring.serving: {error.message}", file=sys.stderr)
        return EXIT_MISCONFIGURED if isinstance(error, errors.Misconfigured) else 1
    return 0


def serve_on_ray(in_force: settings.Settings) -> int:
    """Serve by replicas of Ray Serve beside a process that writes; the code of the end. Errors: PortInUse, MissingTool."""
    from mainspring.serving.processes import supervisor

    supervisor.check(2, has_tls=bool(in_force.serving.tls_certificate))
    for probe in bind(
        in_force.serving
    ):  # whether Ray's proxy will get the port: it binds late, and says less
        probe.close()
    try:
        from mainspring.serving.ray_serve import replicas
    except ImportError as error:
        fix = "pip install 'ray[serve]'"
        raise errors.MissingTool(
            f"Ray Serve is not installed ({error}); run `{fix}`", tool="ray", fix=fix
        ) from error
    return supervisor.Supervisor([], 1, beside=lambda folder: replicas.deployed(in_force, folder)).run()


def supervise(serving: settings.ServingSettings) -> int:
    """Serve by several processes on one port; the code of the end. Errors: PortInUse, InvalidSettings."""
    from mainspring.serving.processes import supervisor

    supervisor.check(serving.processes, has_tls=bool(serving.tls_certificate))
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(one) for one in bind(serving)]
        return supervisor.Supervisor(listeners, serving.processes).run()


def bind(serving: settings.ServingSettings) -> list[socket.socket]:
    """Take the port before anything is opened or written: a socket for each thread that may accept.

    Errors: PortInUse, InvalidSettings.
    """
    threads = 1 if serving.front == "off" else serving.front_threads
    return _listen(serving.host, serving.port, "serving.port", threads)


def check_grpc_port(serving: settings.ServingSettings) -> None:
    """Whether gRPC will get its port: it binds late, and says less. Errors: PortInUse, InvalidSettings."""
    if serving.grpc_port:
        (probe,) = _listen(serving.host, serving.grpc_port, "serving.grpc_port", 1)
        probe.close()


def _listen(host: str, port: int, setting: str, threads: int) -> list[socket.socket]:
    try:
        return native.listen(host, port, threads=threads)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise errors.PortInUse(
                f"port {port} on `{host}` is in use; stop what listens there or set `{setting}`",
                port=port,
                setting=setting,
            ) from error
        raise errors.InvalidSettings(
            f"cannot listen on `{host}` port {port}: {error.strerror or error}; correct `serving.host` and"
            f" `{setting}`",
            problems=("serving.host", setting),
        ) from error


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
