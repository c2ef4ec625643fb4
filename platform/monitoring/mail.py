"""Sends an alert by the configured mail server."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path

from mainspring.core import errors, settings

__all__ = ["send"]


def send(
    s: settings.MonitorSettings, to: tuple[str, ...], *, subject: str, text: str, message_id: str
) -> None:
    """Hand one message to the server; blocks. The same `message_id` again is the same message to whoever reads it.

    Errors: Misconfigured without a server, or with a password file that cannot be read; DependencyDown where the server is
    away or refuses.
    """
    if not s.smtp_host:
        raise errors.Misconfigured(
            "alerts go to e-mail addresses, and `monitor.smtp_host` is not set; set it"
        )
    message = EmailMessage()
    # A finding's words come from data: no header may begin in them.
    message["Subject"] = " ".join(subject.split())[:200]
    message["From"], message["To"] = s.smtp_from, ", ".join(to)
    message["Message-ID"] = f"<{message_id}@mainspring>"
    message.set_content(text)
    try:
        with smtplib.SMTP(s.smtp_host, s.smtp_port, timeout=s.delivery_timeout_seconds) as server:
            if s.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if s.smtp_user:
                server.login(s.smtp_user, _password(s))
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise errors.DependencyDown(
            f"mail server `{s.smtp_host}` did not take the message: {error!r}; it is tried again", name="smtp"
        ) from error


def _password(s: settings.MonitorSettings) -> str:
    try:
        return Path(s.smtp_password_file).read_text().strip()
    except OSError as error:
        raise errors.Misconfigured(
            f"`monitor.smtp_password_file` cannot be read: {error}; correct the path"
        ) from error
