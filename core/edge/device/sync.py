"""Pulls the newest release to this device: `python sync.py --from URL --to DIR --key HEX`, by a timer, as often as one likes.

The head of a channel is signed; everything else is named by a digest that it leads to. Only files that no release here has
are fetched. `DIR/current` is a link that is moved once a release is whole and checked, and never before: whatever fails,
what ran yesterday runs today. A head that is older than one that was seen is refused. Needs the standard library only.

Exit codes: 0 current, or updated, or the source is out of reach and a release is here; 1 failed; 2 refused.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

#: What a head's signature covers, beside its text.
DOMAIN = b"mainspring.edge.head.v1\x00"
TIMEOUT_SECONDS = 15.0
MAX_SMALL_BYTES = 1 << 20
KEPT_RELEASES = 2

_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class Refused(Exception):
    """What came is not what its signature or digest says, or is older than what was here."""


class Unreachable(Exception):
    """The source does not answer."""


class Source:
    """A channel at `http(s)://` or in a folder."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def fetch(self, name: str, limit: int) -> bytes:
        """One file. Raises Unreachable, and Refused if it is longer than `limit` bytes."""
        try:
            if "://" in self._url:
                with urllib.request.urlopen(f"{self._url}/{name}", timeout=TIMEOUT_SECONDS) as answer:
                    data: bytes = answer.read(limit + 1)
                    # A read of so many bytes says nothing of a connection that broke off in between.
                    if len(data) < min(int(answer.headers.get("content-length") or 0), limit + 1):
                        raise OSError("the connection broke off")
            else:
                with open(os.path.join(self._url, name), "rb") as file:
                    data = file.read(limit + 1)
        # http.client's errors are no OSErrors; a length that is no number is a ValueError.
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unreachable(f"`{name}` of `{self._url}`: {error}") from error
        if len(data) > limit:
            raise Refused(f"`{name}` has more than the {limit} bytes that it should have")
        return data


class Store:
    """What this device has: `releases/<hex>/`, `current`, and in `state.json` the newest head that was accepted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.releases = folder / "releases"
        self.incoming = folder / "incoming"
        for path in (self.releases, self.incoming):
            path.mkdir(parents=True, exist_ok=True)

    def state(self) -> dict[str, Any]:
        path = self.folder / "state.json"
        if not path.exists():
            return {}
        try:
            state: dict[str, Any] = json.loads(path.read_bytes())
            return {
                "channel": state["channel"],
                "sequence": int(state["sequence"]),
                "release": state["release"],
                "expires": int(state.get("expires", 0)),
            }
        except (ValueError, KeyError, TypeError) as error:
            # To begin anew by ourselves would let an old head in.
            raise Refused(
                "`state.json` is damaged: which head was the newest is not known; remove it by hand"
            ) from error

    def current(self) -> str:
        """The hex digest of the release in use, or nothing."""
        link = self.folder / "current"
        return link.resolve().name if link.is_symlink() and link.exists() else ""

    def accept(self, head: dict[str, Any]) -> None:
        """Remember the head first: from here on an older one is refused, even if the move of the link is interrupted."""
        _write(self.folder / "state.json", json.dumps(head).encode())
        link = self.folder / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("releases", _hex(head["release"])))
        link.replace(self.folder / "current")
        _sync_folder(self.folder)

    def prune(self, current: str) -> None:
        """The newest releases stay: a program that runs from the one before must find its files."""
        old = sorted(
            (p for p in self.releases.iterdir() if p.name != current), key=lambda p: p.stat().st_mtime
        )
        for path in old[: max(0, len(old) - (KEPT_RELEASES - 1))]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self.incoming.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def known(self) -> dict[str, Path]:
        """Files of the releases here, by the digest that their release lists for them; they may be damaged since."""
        found: dict[str, Path] = {}
        for release in self.releases.iterdir():
            try:
                files = json.loads((release / "release.json").read_bytes())["files"]
            except (OSError, ValueError, KeyError):
                continue
            found |= {entry["digest"]: release / name for name, entry in files.items()}
        return found


def sync(source: Source, store: Store, keys: dict[str, bytes], channel: str) -> str:
    """One pull; what was done, in words. Raises Refused, Unreachable and OSError, and then `current` is as it was."""
    head = read_head(source.fetch("head.json", MAX_SMALL_BYTES), keys)
    state = store.state()
    if head["channel"] != (channel or state.get("channel", head["channel"])):
        raise Refused(f"the head is of channel `{head['channel']}`, which is not the one of this device")
    if head["sequence"] < state.get("sequence", 0):
        raise Refused(
            f"the head is number {head['sequence']}, and number {state['sequence']} was here: a rollback"
        )
    if head["sequence"] == state.get("sequence") and head["release"] != state["release"]:
        raise Refused(f"two heads have the number {head['sequence']}")
    if head["sequence"] == state.get("sequence") and head.get("expires", 0) < state["expires"]:
        raise Refused(f"a newer head with the number {head['sequence']} was here: a rollback")
    if 0 < head.get("expires", 0) < time.time():
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(head["expires"]))
        raise Refused(
            f"the head ended at {ended}: newer ones are kept from this device, or its clock is wrong"
        )
    name = _hex(head["release"])
    is_whole = not damaged(store.releases / name)
    if is_whole and store.current() == name and head["sequence"] == state.get("sequence"):
        if head.get("expires", 0) != state["expires"]:
            store.accept(head)
        return f"current: number {head['sequence']}, release {name[:12]}"
    fetched = 0 if is_whole else bring(source, store, head["release"])
    store.accept(head)
    store.prune(name)
    return f"updated: number {head['sequence']}, release {name[:12]}, {fetched} bytes fetched"


def read_head(data: bytes, keys: dict[str, bytes]) -> dict[str, Any]:
    """The signed text of a head. Raises Refused unless a key of this device signed it and it says all that it must.

    While keys change it has two signatures; the first whose key is here must verify.
    """
    try:
        envelope = json.loads(data)
        text = str(envelope["text"])
        signed = [
            (str(one["key_id"]), bytes.fromhex(one["signature"]))
            for one in (envelope, *envelope.get("also", ()))
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"the head is damaged: {error!r}") from error
    known = [one for one in signed if one[0] in keys]
    if not known:
        signers = "`, `".join(key_id for key_id, _ in signed)
        raise Refused(f"the head is signed by `{signers}`, which is none of this device's keys")
    key_id, signature = known[0]
    if not verified(keys[key_id], DOMAIN + text.encode(), signature):
        raise Refused("the head's signature does not verify")
    head: dict[str, Any] = json.loads(text)
    _hex(head["release"])
    if not (isinstance(head["sequence"], int) and head["sequence"] > 0 and isinstance(head["channel"], str)):
        raise Refused("the head has no number or no channel")
    if type(head.get("expires", 0)) is not int or head.get("expires", 0) < 0:
        raise Refused("the head has an end that is no time")
    return head


def bring(source: Source, store: Store, digest: str) -> int:
    """Put the release there, whole; how many bytes were fetched. What was fetched before an interruption counts."""
    listing = _object(source, store, digest, MAX_SMALL_BYTES)
    release = json.loads(listing)
    here = {
        "system": platform.system(),
        "machine": platform.machine(),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    if release["platform"] != here:
        raise Refused(f"the release is made for {release['platform']}, this device is {here}")
    fetched, known = len(listing), store.known()
    new = store.incoming / f"release-{_hex(digest)}"
    shutil.rmtree(new, ignore_errors=True)
    for name, entry in release["files"].items():
        if not _NAME.fullmatch(name):
            raise Refused(f"the release lists `{name}`, which is no file of a release")
        data = _local(known.get(entry["digest"]), entry["digest"])
        if data is None:
            data = _object(source, store, entry["digest"], entry["bytes"])
            fetched += len(data)
        _write(new / name, data)
    _write(new / "release.json", listing)
    for folder in (*(p for p in new.rglob("*") if p.is_dir()), new):
        _sync_folder(folder)
    final = store.releases / _hex(digest)
    if final.exists():  # damaged, or it would be in use
        final.rename(store.incoming / f"damaged-{os.getpid()}")
    new.rename(final)
    _sync_folder(store.releases)
    return fetched


def damaged(release: Path) -> str:
    """The first file that is not what the release lists, or nothing."""
    try:
        listing = (release / "release.json").read_bytes()
        if hashlib.sha256(listing).hexdigest() != release.name:
            return "release.json"
        files = json.loads(listing)["files"]
    except (OSError, ValueError, KeyError):
        return "release.json"
    return next((n for n, e in files.items() if _local(release / n, e["digest"]) is None), "")


def _object(source: Source, store: Store, digest: str, limit: int) -> bytes:
    """A file by its digest: what an interrupted pull had fetched, else from the source. Raises Refused for other bytes."""
    kept = store.incoming / _hex(digest)
    data = _local(kept, digest)
    if data is None:
        data = source.fetch(f"objects/{_hex(digest)}", limit)
        if hashlib.sha256(data).hexdigest() != _hex(digest):
            raise Refused(f"object `{_hex(digest)[:12]}` has other bytes than its name says")
        _write(kept, data)
    return data


def _local(path: Path | None, digest: str) -> bytes | None:
    """The file's bytes, if it is there and has this digest."""
    try:
        data = path.read_bytes() if path is not None else None
    except OSError:
        return None
    return data if data is not None and "sha256:" + hashlib.sha256(data).hexdigest() == digest else None


def _hex(digest: str) -> str:
    name = str(digest).removeprefix("sha256:")
    if not _HEX.fullmatch(name):
        raise Refused(f"`{digest}` is no digest")
    return name


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Ed25519 (RFC 8032, 5.1.7), verification only: everything in it is public, so it need not run in constant time. A device
# then needs no package of cryptography, which would be larger than all of a release. Tested against one.
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]


def verified(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the key's owner signed the message."""
    if len(key) != 32 or len(signature) != 64:
        return False
    public, s = _point(key), int.from_bytes(signature[32:], "little")
    if public is None or s >= _L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % _L
    x, y, z, t = public
    # The point that the signature names: s B - k A, compared as bytes, so that there is one form of each signature.
    found = _add(_times(s, _base()), _times(k, (-x % _P, y, z, -t % _P)))
    return _bytes(found) == signature[:32]


def _base() -> _Point:
    point = _point(bytes([0x58]) + b"\x66" * 31)
    assert point is not None
    return point


def _point(data: bytes) -> _Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return (x, y, 1, x * y % _P)


def _add(a: _Point, b: _Point) -> _Point:
    u = (a[1] - a[0]) * (b[1] - b[0]) % _P
    v = (a[1] + a[0]) * (b[1] + b[0]) % _P
    c, d = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    e, f, g, h = v - u, d - c, d + c, v + u
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(n: int, point: _Point) -> _Point:
    found: _Point = (0, 1, 1, 0)
    while n:
        if n & 1:
            found = _add(found, point)
        point, n = _add(point, point), n >> 1
    return found


def _bytes(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def main() -> int:
    parser = argparse.ArgumentParser(prog="sync.py", description="Pull the newest release of a channel.")
    parser.add_argument("--from", dest="source", required=True, help="the channel: http(s)://, or a folder")
    parser.add_argument(
        "--to", type=Path, required=True, help="where releases are kept; `current` in it is the newest"
    )
    parser.add_argument(
        "--key", action="append", required=True, help="a public key that may sign, 64 hex digits"
    )
    parser.add_argument(
        "--channel", default="", help="its name; default: that of the first head that was accepted"
    )
    asked = parser.parse_args()
    try:
        keys = {"sha256:" + hashlib.sha256(k).hexdigest(): k for k in map(bytes.fromhex, asked.key)}
        store = Store(asked.to)
        with (asked.to / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            print(sync(Source(asked.source), store, keys, asked.channel))
        return 0
    except Unreachable as error:
        kept = store.current()
        print(
            f"unreachable: {error}; {f'release {kept[:12]} stays' if kept else 'no release is here'}",
            file=sys.stderr,
        )
        return 0 if kept else 1
    except Refused as error:
        print(f"refused: {error}; what was here stays", file=sys.stderr)
        return 2
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"failed: {error!r}; what was here stays", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
