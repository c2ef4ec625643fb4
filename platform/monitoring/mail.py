"""Sends an alert by the configured mail server."""

from __future__ import annotations

import ipaddress
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Final

from mainspring.core import errors, secrets, settings

__all__ = ["send"]

#: Of a reply: "try again later" begins here, and "no" (RFC 5321, 4.2.1).
_LATER, _NO = 400, 500
_MAX_SUBJECT: Final = 200


def send(
    s: settings.MonitorSettings,
    to: tuple[str, ...],
    *,
    subject: str,
    text: str,
    message_id: str,
    password: secrets.Secret | None = None,
) -> str:
    """Hand one message to the server; blocks. `password`: where it is not in `monitor.smtp_password_file`. Answers whom of several it will never take it for, in words; mostly "".

    The same `message_id` again is the same message to whoever reads it: where the server takes it for some and asks to come
    again for others, it is sent to all of them again.
    Errors: Misconfigured without a server or an address to send from, with a password or authority that cannot be read, and
    where a password would go unencrypted; DependencyDown where the server is away, is not who it should be, or refuses.
    """
    message = _message(s, to, subject, text, message_id)
    try:
        with _connected(s) as server:
            if s.smtp_user:
                server.login(s.smtp_user, _password(s) if password is None else password.reveal())
            refused = server.send_message(message, parseaddr(s.smtp_from)[1], list(to))
    except (OSError, smtplib.SMTPException) as error:
        raise errors.DependencyDown(
            f"mail server `{s.smtp_host}` did not take the message: {error!r}; it is tried again", name="smtp"
        ) from error
    said = ", ".join(f"`{who}` ({code} {_words(why)})" for who, (code, why) in sorted(refused.items()))
    if any(_LATER <= code < _NO for code, _ in refused.values()):
        raise errors.DependencyDown(
            f"mail server `{s.smtp_host}` does not take the message yet for {said}; it is tried again",
            name="smtp",
        )
    return f"the mail server refuses {said}" if said else ""


def _message(
    s: settings.MonitorSettings, to: tuple[str, ...], subject: str, text: str, message_id: str
) -> EmailMessage:
    if not s.smtp_host:
        raise errors.Misconfigured(
            "alerts go to e-mail addresses, and `monitor.smtp_host` is not set; set it"
        )
    message = EmailMessage()
    # A finding's words come from data: no header may begin in them.
    message["Subject"] = " ".join(_printable(subject).split())[:_MAX_SUBJECT]
    try:
        message["From"], message["To"] = s.smtp_from, ", ".join(to)
        message["Message-ID"] = f"<{message_id}@mainspring>"
    except ValueError as error:  # a header that would end in the middle
        raise errors.Misconfigured(
            f"`{s.smtp_from!r}` or a receiver is no address: {error}; correct `monitor.smtp_from`, or the rules"
        ) from error
    message.set_content(text)
    return message


def _connected(s: settings.MonitorSettings) -> smtplib.SMTP:
    """A connection that is encrypted as the settings say. Errors: OSError, SMTPException; Misconfigured."""
    if s.smtp_user and not (s.smtp_tls or s.smtp_starttls or _is_here(s.smtp_host)):
        raise errors.Misconfigured(
            f"the password of `monitor.smtp_user` would go to `{s.smtp_host}` unencrypted; set `monitor.smtp_starttls` or"
            " `monitor.smtp_tls`"
        )
    if s.smtp_tls:
        return smtplib.SMTP_SSL(
            s.smtp_host, s.smtp_port, timeout=s.delivery_timeout_seconds, context=_trusted(s)
        )
    server = smtplib.SMTP(s.smtp_host, s.smtp_port, timeout=s.delivery_timeout_seconds)
    if s.smtp_starttls:
        try:
            server.starttls(context=_trusted(s))
        except BaseException:
            server.close()
            raise
    return server


def _trusted(s: settings.MonitorSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=s.smtp_ca_file or None)
    except OSError as error:
        raise errors.Misconfigured(
            f"`monitor.smtp_ca_file` cannot be read: {error}; correct the path"
        ) from error


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)


def _words(reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return " ".join(_printable(text).split())[:_MAX_SUBJECT]


def _password(s: settings.MonitorSettings) -> str:
    try:
        return Path(s.smtp_password_file).read_text().strip()
    except OSError as error:
        raise errors.Misconfigured(
            f"`monitor.smtp_password_file` cannot be read: {error}; correct the path"
        ) from error
