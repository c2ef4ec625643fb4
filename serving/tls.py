"""TLS of the app's ports, HTTP and gRPC alike: certificates that are replaced on disk are used for the next connection."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mainspring.core import errors, settings

if TYPE_CHECKING:
    import grpc

__all__ = ["Certificates"]

_LOG: Final = logging.getLogger("mainspring.serving")


class Certificates:
    """A chain, its key, and those whose clients are let in. Used on one loop; gRPC's threads only read.

    TLS 1.2 is the least. With `client_ca` every client must show a certificate that it signed, before anything is read.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """Errors: InvalidSettings naming the setting whose file is no good."""
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._seen = self._state()
        self.context: Final = _context(certificate, key, client_ca)
        self._chain = key.read_bytes(), certificate.read_bytes()
        self._roots = None if client_ca is None else client_ca.read_bytes()

    @classmethod
    def load(cls, serving: settings.ServingSettings) -> Certificates | None:
        """None where TLS is off.

        Errors: InvalidSettings for settings that do not go together, and as above.
        """
        if not serving.tls_certificate:
            given = [n for n in ("tls_key", "tls_client_ca") if getattr(serving, n)]
            if given:
                raise errors.InvalidSettings(
                    f"`serving.{given[0]}` goes with `serving.tls_certificate`; set both or neither",
                    problems=(f"serving.{given[0]}",),
                )
            return None
        if not serving.tls_key:
            raise errors.InvalidSettings(
                "`serving.tls_certificate` goes with `serving.tls_key`; set both or neither",
                problems=("serving.tls_key",),
            )
        if serving.front == "on":
            raise errors.InvalidSettings(
                "the native front speaks no TLS; set `serving.front` to `auto` or `off`, or put a proxy with TLS before it",
                problems=("serving.front",),
            )
        client_ca = Path(serving.tls_client_ca) if serving.tls_client_ca else None
        return cls(Path(serving.tls_certificate), Path(serving.tls_key), client_ca)

    def refresh(self) -> None:
        """Use what is on disk now, if it changed and is good; else the log says so once and the old chain stays."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            # First where it does no harm: a live context with half of a chain could answer nobody.
            _context(self._certificate, self._key, self._client_ca)
            chain = self._key.read_bytes(), self._certificate.read_bytes()
            self.context.load_cert_chain(self._certificate, self._key)
        except (errors.InvalidSettings, OSError) as error:
            _LOG.error("the new certificate is not used, the old one stays: %s", error)
            return
        self._chain = chain
        _LOG.info("a new certificate is in use")

    def for_uvicorn(self) -> dict[str, Any]:
        """What `uvicorn.Config` takes."""

        def factory(config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
            return self.context

        return {"ssl_context_factory": factory}

    def for_grpc(self) -> grpc.ServerCredentials:
        """Credentials that ask for the chain at each handshake."""
        import grpc  # only those that serve it pay for it

        def configuration() -> grpc.ServerCertificateConfiguration:
            return grpc.ssl_server_certificate_configuration([self._chain], root_certificates=self._roots)

        return grpc.dynamic_ssl_server_credentials(
            configuration(), configuration, require_client_authentication=self._roots is not None
        )

    def _state(self) -> tuple[object, ...]:
        try:
            return tuple(
                (s.st_ino, s.st_size, s.st_mtime_ns) for s in (self._certificate.stat(), self._key.stat())
            )
        except OSError as error:
            return (str(error),)


def _context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise errors.InvalidSettings(
            f"`serving.tls_certificate` and `serving.tls_key` are no certificate and its key: {error}; write both as PEM, the"
            " certificate with its chain",
            problems=("serving.tls_certificate", "serving.tls_key"),
        ) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise errors.InvalidSettings(
                f"`serving.tls_client_ca` is no certificate: {error}; write those who sign clients' as PEM",
                problems=("serving.tls_client_ca",),
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
