"""Mail to a real server: encrypted, logged in, refused by it, away, and never with a header that data wrote."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import platform_smtp
import pytest
from platform_smtp import PASSWORD, USER, Mailbox, mailbox

from mainspring.core import errors, secrets, settings
from mainspring.platform.monitoring import mail

pytestmark = [
    pytest.mark.integration,
    # It does not count TLS that was there before its own protocol began.
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning"),
]

ANA, BOB = "ana@example.org", "bob@example.org"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return platform_smtp.certificate(tmp_path_factory.mktemp("mail"))


def sent(
    box: Mailbox,
    *to: str,
    subject: str = "it drifts",
    password: secrets.Secret | None = None,
    **chosen: Any,
) -> str:
    s = settings.MonitorSettings().model_copy(
        update={
            "smtp_host": "127.0.0.1",
            "smtp_port": box.port,
            "smtp_starttls": False,
            "smtp_from": "Mainspring <alerts@example.org>",
            "delivery_timeout_seconds": 30.0,
            **chosen,
        }
    )
    return mail.send(
        s, to or (ANA,), subject=subject, text="look at it", message_id="delivery_1", password=password
    )


def login(folder: Path, password: str = PASSWORD) -> dict[str, str]:
    (folder / "password").write_text(password + "\n")
    return {"smtp_user": USER, "smtp_password_file": str(folder / "password")}


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_it_is_encrypted_and_logged_in(tmp_path: Path, shown: tuple[Path, ssl.SSLContext], way: str) -> None:
    trusted, context = shown
    how = {f"smtp_{way}": True, "smtp_ca_file": str(trusted), **login(tmp_path)}
    with mailbox(login=True, **{way: context}) as box:
        assert sent(box, ANA, BOB, **how) == ""
        with pytest.raises(errors.DependencyDown, match="535"):
            sent(box, **{**how, **login(tmp_path, "wrong")})
        kept_elsewhere = {**how, "smtp_password_file": ""}
        assert sent(box, **kept_elsewhere, password=secrets.Secret(PASSWORD, "env:MAIL")) == ""
        with pytest.raises(errors.DependencyDown, match="CERTIFICATE_VERIFY_FAILED"):
            sent(box, **{**how, "smtp_ca_file": ""})
    (to, message), session = box.got[0], box.sessions[0]
    # Of TLS that was there before its protocol began the server's session knows nothing; its socket takes nothing else.
    assert to == [ANA, BOB] and session.authenticated and (session.ssl is not None) is (way == "starttls")
    assert (message["Subject"], message["From"]) == ("it drifts", "Mainspring <alerts@example.org>")
    assert message["Message-ID"] == "<delivery_1@mainspring>" and "look at it" in message.get_content()
    assert len(box.got) == 2


def test_a_server_that_does_not_encrypt_gets_neither_mail_nor_password(tmp_path: Path) -> None:
    with mailbox() as box:
        with pytest.raises(errors.DependencyDown, match="STARTTLS"):
            sent(box, smtp_starttls=True, **login(tmp_path))
        with pytest.raises(errors.DependencyDown, match="did not take"):
            sent(box, smtp_tls=True, delivery_timeout_seconds=2.0)
        with pytest.raises(errors.Misconfigured, match=r"unencrypted; set `monitor\.smtp_starttls`"):
            sent(box, smtp_host="mail.example.org", **login(tmp_path))
        with pytest.raises(errors.Misconfigured, match=r"monitor\.smtp_password_file"):
            sent(box, smtp_user=USER, smtp_password_file=str(tmp_path / "none"))
        with pytest.raises(errors.Misconfigured, match=r"monitor\.smtp_ca_file"):
            sent(box, smtp_starttls=False, smtp_tls=True, smtp_ca_file=str(tmp_path / "none"))
    assert box.got == []


def test_whom_the_server_refuses_does_not_keep_the_others_from_it() -> None:
    with mailbox() as box:
        box.refused = {BOB: "550 5.1.1 no\u00a0such person"}
        assert sent(box, ANA, BOB) == f"the mail server refuses `{BOB}` (550 5.1.1 no such person)"
        assert [to for to, _ in box.got] == [[ANA]]
        with pytest.raises(errors.DependencyDown, match="550"):
            sent(box, BOB)
        # Asked to come later for one: again for all, and one message to whoever has it twice.
        box.refused = {BOB: "450 4.2.0 come back"}
        with pytest.raises(
            errors.DependencyDown, match=r"not take the message yet for `bob@example.org` \(450"
        ):
            sent(box, ANA, BOB)
        box.refused = {}
        assert sent(box, ANA, BOB) == ""
    assert [to for to, _ in box.got] == [[ANA], [ANA], [ANA, BOB]]
    assert len({message["Message-ID"] for _, message in box.got}) == 1


@pytest.mark.parametrize(
    "subject",
    [
        "x\r\nBcc: eve@example.org",
        "x\nBcc: eve@example.org",
        "x\x0bBcc: eve@example.org\x00",
        "x\u2028Bcc: eve@example.org",
    ],
)
def test_a_finding_s_words_begin_no_header(subject: str) -> None:
    with mailbox() as box:
        assert sent(box, subject=subject) == ""
    ((to, message),) = box.got
    assert to == [ANA] and message["Bcc"] is None and message["Subject"].startswith("x Bcc")


@pytest.mark.parametrize("where", ["smtp_from", "to"])
def test_an_address_that_would_end_its_header_is_refused_before_anything_is_sent(where: str) -> None:
    bad = "a@example.org\r\nBcc: eve@example.org"
    with mailbox() as box:
        with pytest.raises(errors.Misconfigured, match="is no address"):
            sent(box, smtp_from=bad) if where == "smtp_from" else sent(box, bad)
    assert box.got == []
