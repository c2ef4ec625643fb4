"""A channel: a folder behind any web server, from which devices pull. Objects by digest, and one signed head.

<channel>/objects/<64 hex>    every file of every release, once
          head.json           which release is the newest, its number, and a signature over both; replaced at once
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mainspring.core import canonical, durable, errors, ids
from mainspring.core.contracts.base import Message
from mainspring.core.edge import export
from mainspring.core.edge.device import sync
from mainspring.core.models import signing

__all__ = ["HEAD", "Head", "check_release", "has", "publish", "read_head"]

HEAD: Final = "head.json"
_OBJECTS: Final = "objects"


class Head(Message):
    """What a device may run now. The numbers of a channel only rise: devices refuse an older one."""

    channel: str
    sequence: int
    release: str
    """The digest of its `release.json`."""
    expires: int = 0
    """Unix time in seconds after which a device says that somebody keeps newer heads from it; 0: never."""


def check_release(folder: Path, trust: signing.TrustedKeys) -> tuple[str, dict[str, Any]]:
    """The digest and the listing of an exported release, after every file and the signature were verified.

    Errors: NotFound if there is none; CorruptArtifact for a file that is not as listed; PolicyDenied for a signer that is
    not trusted.
    """
    try:
        listing = (folder / export.RELEASE).read_bytes()
        signature = (folder / export.SIGNATURE).read_bytes()
    except OSError as error:
        raise errors.NotFound(
            f"no release in `{folder}`: {error.strerror}; make one with `mainspring bundle export --edge`",
            resource="release",
            name=str(folder),
        ) from error
    digest = canonical.digest_bytes(listing)
    trust.verify(digest, signing.Signature.from_bytes(signature, digest), domain=export.DOMAIN)
    release: dict[str, Any] = json.loads(listing)
    for name, entry in release["files"].items():
        got = canonical.digest_file(folder / name) if (folder / name).is_file() else "no file"
        if got != entry["digest"]:
            raise _damaged(folder / name, entry["digest"], got)
    return digest, release


def read_head(channel: Path) -> Head | None:
    """The head as it stands, unverified; None before the first. Errors: CorruptArtifact."""
    try:
        return Head.model_validate_json(json.loads((channel / HEAD).read_bytes())["text"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.CorruptArtifact(
            f"`{channel / HEAD}` is no head of a channel: {error!r}; put back the last good one, so that its number is kept",
            artifact=str(channel / HEAD),
            expected="a signed head",
            got=repr(error),
        ) from error


def has(channel: Path, release: Mapping[str, Any]) -> bool:
    """Does every file of a release that was checked lie in the channel already, to the bit."""
    digests = [entry["digest"] for entry in release["files"].values()]
    objects = [(channel / _OBJECTS / digest.removeprefix("sha256:"), digest) for digest in digests]
    return all(path.is_file() and canonical.digest_file(path) == digest for path, digest in objects)


def publish(
    release: Path,
    channel: Path,
    name: str,
    key: signing.SigningKey,
    trust: signing.TrustedKeys,
    previous: signing.SigningKey | None = None,
    *,
    expires: int = 0,
) -> Head:
    """Make an exported release the newest of the channel; the one that already is, again, is no change.

    `expires`: Unix time in seconds after which devices refuse the head, so that who keeps newer ones from them is found out; 0:
    never. The newest release again lasts as long as is asked for then, under the same number, and never less long.

    `previous`: the key before, while a rotation's overlap lasts. Both sign the head, so that devices follow it that have
    either; the release that already is the newest is signed anew once other keys sign, under the same number.

    Objects are there before the head that leads to them. To take a release back, publish an older one: it gets a number of
    its own, and devices that have its files fetch nothing.
    Errors: those of :func:`check_release`; InvalidRequest for a name that is none; Conflict if the folder is of a channel of
    another name, or somebody publishes now; DependencyDown if the disk refuses.
    """
    ids.check_slug(name, "channel")
    digest, listing = check_release(release, trust)
    try:
        lock = durable.hold_folder(channel)
    except BlockingIOError as error:
        raise errors.Conflict(
            f"somebody publishes to `{channel}` now; try again when they are done",
            resource="channel",
            name=name,
        ) from error
    try:
        signers = [key] if previous is None else [previous, key]
        return _publish(release, digest, listing, channel, name, signers, expires)
    except OSError as error:
        raise errors.DependencyDown(
            f"`{channel}` cannot be written: {error}; the head is as it was: check the disk and publish again",
            name=str(channel),
        ) from error
    finally:
        os.close(lock)


def _publish(
    release: Path,
    digest: str,
    listing: dict[str, Any],
    channel: Path,
    name: str,
    signers: Sequence[signing.SigningKey],
    expires: int,
) -> Head:
    before = read_head(channel)
    if before is not None and before.channel != name:
        raise errors.Conflict(
            f"`{channel}` is the channel `{before.channel}`, whose devices refuse another name; choose another folder",
            resource="channel",
            name=name,
        )
    if before is not None and before.release == digest:
        # Signed anew it lasts longer, and never less long: devices refuse the older head of two with one number.
        head = before.model_copy(update={"expires": max(expires, before.expires)})
        if head != before or _signers(channel) != [key.key_id for key in signers]:
            _put_head(channel, head, signers)
        return head
    objects = channel / _OBJECTS
    objects.mkdir(parents=True, exist_ok=True)
    for path, wanted in [
        *((release / n, e["digest"]) for n, e in listing["files"].items()),
        (release / export.RELEASE, digest),
    ]:
        target = objects / wanted.removeprefix("sha256:")
        if not target.exists() or canonical.digest_file(target) != wanted:
            data = path.read_bytes()
            if canonical.digest_bytes(data) != wanted:  # changed since it was checked
                raise _damaged(path, wanted, canonical.digest_bytes(data))
            durable.replace_file(target, data)
    head = Head(
        channel=name, sequence=1 if before is None else before.sequence + 1, release=digest, expires=expires
    )
    _put_head(channel, head, signers)
    return head


def _put_head(channel: Path, head: Head, signers: Sequence[signing.SigningKey]) -> None:
    """The first signature stands where devices of earlier releases of `sync.py` look, who know of one."""
    # A head without an end is written as it was before there were ends.
    text = canonical.dumps(head.model_dump(exclude={"expires"} if not head.expires else None)).decode()
    first, *others = (
        {"key_id": key.key_id, "signature": key.sign(text, domain=sync.DOMAIN).value.hex()} for key in signers
    )
    envelope = {"text": text, **first, **({"also": others} if others else {})}
    durable.replace_file(channel / HEAD, canonical.dumps(envelope))


def _signers(channel: Path) -> list[str]:
    envelope = json.loads((channel / HEAD).read_bytes())
    return [str(one["key_id"]) for one in (envelope, *envelope.get("also", ()))]


def _damaged(path: Path, expected: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"`{path}` is damaged: expected {expected}, got {got}; export the release again",
        artifact=str(path),
        expected=expected,
        got=got,
    )
