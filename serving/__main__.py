"""`python -m mainspring.serving`: the data plane, one process or `serving.processes` of them, until SIGTERM or Ctrl-C.

Exit codes: 0 stopped as asked; 78 misconfigured, with one line on stderr that says what to do; 1 any other error.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mainspring.core import errors, identity, settings
from mainspring.core.features import online
from mainspring.core.models import bundle
from mainspring.native import front as native
from mainspring.serving import app, logs, native_front, server, signed_bundles, tls, usage
from mainspring.serving.models import bundle_models
from mainspring.serving.runtimes import chosen

if TYPE_CHECKING:
    from mainspring.core.client import control

#: What is not received by then waits on disk; a stop must not wait for long.
_USAGE_TIMEOUT_SECONDS: Final = 5.0

EXIT_MISCONFIGURED: Final = 78  # EX_CONFIG of sysexits.h


def main() -> int:
    """Load settings once, take the port, open the store, serve."""
    # uvicorn raises the signal that ended it once more; as SystemExit it lets the store close and the code be 0.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        told = None
        if sys.argv[1:]:  # of one of several processes, which alone needs it
            from mainspring.serving.processes import part as parts

            told = parts.of_arguments(sys.argv[1:])
        in_force = settings.load()
        logs.install(log_requests=in_force.serving.log_requests)
        if told is None:
            check_grpc_port(in_force.serving)
            if in_force.serving.processes > 1:
                return supervise(in_force.serving)
        else:
            told.end_with_supervisor()
            in_force = in_force.model_copy(update={"serving": told.settings_of(in_force.serving)})
        certificates = tls.Certificates.load(in_force.serving)
        with contextlib.ExitStack() as opened:
            bound = bind(in_force.serving) if told is None else told.sockets()
            listeners = [opened.enter_context(one) for one in bound]
            access: online.Access = "own" if told is None else "read" if told.follows else "share"
            store = opened.enter_context(online.OnlineStore(in_force.serving.online_store, access=access))
            embedded = identity.TokenIssuer.load(in_force.control.tokens_file)
            loader = signed_bundles.SignedBundleLoader(
                bundle.BundleStore(in_force.serving.bundle_dir),
                in_force.serving.trusted_keys_dir,
                chosen.runtimes(in_force.serving),
            )
            front = native_front.NativeFront(in_force.serving)
            built = app.create_app(
                in_force,
                online=store,
                loader=loader,
                issuer=believed(in_force.identity, embedded),
                models=bundle_models.factories(
                    in_force.serving.tensor_models,
                    loader.load,
                    max_rows=in_force.serving.max_rows_per_request,
                ),
                front=front,
                send_usage=opened.enter_context(usage_sender(in_force, embedded)),
                certificates=certificates,
                part=told,
            )
            # log_config: ours is installed already.
            how: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False}
            how |= {} if certificates is None else certificates.for_uvicorn()
            behind = None if told is None else told.writer_socket()
            server.Server(built, listeners, front, behind=behind, **how).run()
    except errors.MainspringError as error:
        print(f"mainspring.serving: {error.message}", file=sys.stderr)
        return EXIT_MISCONFIGURED if isinstance(error, errors.Misconfigured) else 1
    return 0


def believed(s: settings.IdentitySettings, embedded: identity.TokenIssuer) -> identity.Issuer:
    """Whose tokens are taken: as the control API. Errors: InvalidSettings."""
    if not s.issuer:
        return embedded
    from mainspring.core import oidc  # a start without a provider is not for it

    return oidc.issuer(s, embedded)


def supervise(serving: settings.ServingSettings) -> int:
    """Serve by several processes on one port; the code of the end. Errors: PortInUse, InvalidSettings."""
    from mainspring.serving.processes import supervisor

    supervisor.check(serving.processes, has_tls=bool(serving.tls_certificate))
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(one) for one in bind(serving)]
        return supervisor.Supervisor(listeners, serving.processes).run()


@contextlib.contextmanager
def usage_sender(s: settings.Settings, embedded: identity.TokenIssuer) -> Iterator[usage.Send]:
    """What tells the control API what was used. Its client is imported with the first report: the start is not for it."""
    with contextlib.ExitStack() as opened:

        @functools.cache
        def client() -> control.ControlClient:
            # One for all: making it reads the system's certificates, some 30 ms that hold the interpreter.
            from mainspring.core.client import control

            token = embedded.token_of("service@local")
            made = control.ControlClient(s.control_url, token, timeout_seconds=_USAGE_TIMEOUT_SECONDS)
            return opened.enter_context(made)

        yield lambda records: client().record_serving_usage(records)


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
