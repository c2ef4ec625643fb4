"""A real mail server on loopback, and a certificate for it that nobody else trusts."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USER, PASSWORD = "mainspring", "correct horse"


@dataclass
class Mailbox:
    """What was received: the envelope's receivers, the message, and whether it came encrypted and with a login."""

    port: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    """Address -> the reply that it is refused with."""
    got: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        found = message_from_bytes(cast(bytes, envelope.content), policy=policy.default)
        self.got.append((envelope.rcpt_tos, cast(EmailMessage, found)))
        self.sessions.append(session)
        return "250 taken"


def _login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    assert isinstance(data, LoginPassword)
    wanted = (USER.encode(), PASSWORD.encode())
    return AuthResult(success=(data.login, data.password) == wanted, handled=False)


@contextlib.contextmanager
def mailbox(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, login: bool = False
) -> Iterator[Mailbox]:
    """`starttls`, `tls`: how it is encrypted, and it takes nothing that is not. `login`: nothing without one either."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        box = Mailbox(probe.getsockname()[1])
    more: dict[str, Any] = {"ssl_context": tls} if tls else {}
    if starttls:
        more |= {"tls_context": starttls, "require_starttls": True}
    if login:
        more |= {"authenticator": _login, "auth_required": True, "auth_require_tls": tls is None}
    server = Controller(box, hostname="127.0.0.1", port=box.port, **more)
    server.start()
    try:
        yield box
    finally:
        server.stop()


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The PEM file to trust, and what the server shows: a certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    shown, trusted = folder / "mail.pem", folder / "authority.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown.write_bytes(private + trusted.read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown)
    return trusted, context
