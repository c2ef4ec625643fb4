"""python-tuf's client is asked beside ours: the same attacks on a repository of its own and on a channel, the same answers.

Ours is one signed head over objects by digest; TUF's is a tree of roles. They say the same of everything that is tried here.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import core_edge_world
import pytest
from securesystemslib import signer as ssl_signer
from tuf.api import exceptions as tuf_errors
from tuf.api import metadata as tuf
from tuf.ngclient import FetcherInterface, Updater

from mainspring.core import canonical
from mainspring.core.edge import channel
from mainspring.core.edge.device import sync

pytestmark = [pytest.mark.integration, pytest.mark.slow]

_WEIGHTS: Final = "weights.safetensors"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> core_edge_world.World:
    return core_edge_world.World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def releases(world: core_edge_world.World) -> list[Path]:
    return [world.export(f"release-{seed}", seed=seed).path for seed in (3, 4)]


class _Folder(FetcherInterface):
    """TUF's client over a folder: its own limits on lengths hold."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url.removeprefix("file://"))
        if not path.exists():
            raise tuf_errors.DownloadHTTPError(f"no {path.name}", 404)
        yield path.read_bytes()


class Theirs:
    """A repository with one target, the weights, and one client."""

    def __init__(self, folder: Path) -> None:
        self.remote, self.local = folder / "remote", folder / "local"
        for path in (self.remote / "metadata", self.remote / "targets", self.local / "targets"):
            path.mkdir(parents=True)
        self.signer = ssl_signer.CryptoSigner.generate_ed25519()
        self.version = 0
        root = tuf.Metadata(tuf.Root(expires=_later(365), consistent_snapshot=False))
        for role in ("root", "timestamp", "snapshot", "targets"):
            root.signed.add_key(self.signer.public_key, role)
        root.sign(self.signer)
        self.root = root.to_bytes()

    def publish(self, release: Path, *, days: float = 7) -> None:
        self.version += 1
        data = (release / _WEIGHTS).read_bytes()
        (self.remote / "targets" / _WEIGHTS).write_bytes(data)
        targets = tuf.Targets(self.version, expires=_later(365))
        targets.targets[_WEIGHTS] = tuf.TargetFile.from_data(_WEIGHTS, data, ["sha256"])
        snapshot = tuf.Snapshot(self.version, expires=_later(365))
        snapshot.meta["targets.json"].version = self.version
        timestamp = tuf.Timestamp(self.version, expires=_later(days))
        timestamp.snapshot_meta.version = self.version
        for name, signed in (("targets", targets), ("snapshot", snapshot), ("timestamp", timestamp)):
            made: Any = tuf.Metadata(signed)
            made.sign(self.signer)
            (self.remote / "metadata" / f"{name}.json").write_bytes(made.to_bytes())

    def update(self) -> bool:
        """Whether the newest was taken, or is there."""
        try:
            updater = Updater(
                str(self.local),
                f"file://{self.remote}/metadata/",
                target_dir=str(self.local / "targets"),
                target_base_url=f"file://{self.remote}/targets/",
                fetcher=_Folder(),
                bootstrap=self.root,
            )
            updater.refresh()
            info = updater.get_targetinfo(_WEIGHTS)
            assert info is not None
            updater.download_target(info)
        except (tuf_errors.RepositoryError, tuf_errors.DownloadError):
            return False
        return True

    @property
    def head(self) -> Path:
        return self.remote / "metadata" / "timestamp.json"

    @property
    def served(self) -> Path:
        return self.remote

    def object_of(self, release: Path) -> Path:
        return self.remote / "targets" / _WEIGHTS


class Ours:
    def __init__(self, folder: Path, world: core_edge_world.World) -> None:
        self.served, self.device, self.world = folder / "channel", folder / "device", world
        self.served.mkdir(parents=True)
        self.keys = {world.key.key_id: world.key.public_bytes}

    def publish(self, release: Path, *, days: float = 7) -> None:
        expires = int(time.time() + days * 86_400)
        channel.publish(release, self.served, "demo", self.world.key, self.world.trust, expires=expires)

    def update(self) -> bool:
        self.device.mkdir(exist_ok=True)
        try:
            sync.sync(sync.Source(str(self.served)), sync.Store(self.device), self.keys, "")
        except (sync.Refused, sync.Unreachable):
            return False
        return True

    @property
    def head(self) -> Path:
        return self.served / channel.HEAD

    def object_of(self, release: Path) -> Path:
        return self.served / "objects" / canonical.digest_file(release / _WEIGHTS).removeprefix("sha256:")


def _later(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


@pytest.fixture
def both(tmp_path: Path, world: core_edge_world.World) -> dict[str, Any]:
    return {"theirs": Theirs(tmp_path / "theirs"), "ours": Ours(tmp_path / "ours", world)}


def answers(both: dict[str, Any], story: Callable[[Any], list[bool]]) -> dict[str, list[bool]]:
    return {name: story(one) for name, one in both.items()}


def _flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(bytes(data))


def test_what_is_new_is_taken_and_what_is_there_stays(both: dict[str, Any], releases: list[Path]) -> None:
    def story(one: Any) -> list[bool]:
        one.publish(releases[0])
        taken = [one.update(), one.update()]
        one.publish(releases[1])
        return [*taken, one.update()]

    assert answers(both, story) == {"theirs": [True] * 3, "ours": [True] * 3}


def test_a_rollback(both: dict[str, Any], releases: list[Path], tmp_path: Path) -> None:
    """All of an older state is served again, as it was signed."""

    def story(one: Any) -> list[bool]:
        one.publish(releases[0])
        taken = [one.update()]
        old = tmp_path / f"old-{type(one).__name__}"
        shutil.copytree(one.served, old)
        one.publish(releases[1])
        taken.append(one.update())
        shutil.rmtree(one.served)
        shutil.copytree(old, one.served)
        return [*taken, one.update()]

    assert answers(both, story) == {"theirs": [True, True, False], "ours": [True, True, False]}


def test_a_freeze(both: dict[str, Any], releases: list[Path]) -> None:
    """The newest that is shown has ended; published again it lasts longer, and nothing else changed."""

    def story(one: Any) -> list[bool]:
        one.publish(releases[0], days=-1)
        taken = [one.update()]
        one.publish(releases[0], days=1)
        return [*taken, one.update(), one.update()]

    assert answers(both, story) == {"theirs": [False, True, True], "ours": [False, True, True]}


def test_a_freeze_of_a_device_that_was_current(
    both: dict[str, Any], releases: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time passes, nobody publishes. What ran runs on; the device knows that it is late."""
    ours = both["ours"]
    ours.publish(releases[0], days=1)
    assert ours.update()
    now = time.time()
    monkeypatch.setattr(sync.time, "time", lambda: now + 2 * 86_400)
    with pytest.raises(sync.Refused, match="newer ones are kept from this device, or its clock is wrong"):
        sync.sync(sync.Source(str(ours.served)), sync.Store(ours.device), ours.keys, "")
    assert (ours.device / "current" / "run.py").exists()


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_flipped_bit_of_the_model(both: dict[str, Any], releases: list[Path], at: float) -> None:
    def story(one: Any) -> list[bool]:
        one.publish(releases[0])
        _flip(one.object_of(releases[0]), at)
        return [one.update()]

    assert answers(both, story) == {"theirs": [False], "ours": [False]}


def test_a_flipped_bit_of_the_head(both: dict[str, Any], releases: list[Path]) -> None:
    """In each tenth of it, the signature among them."""

    def story(one: Any) -> list[bool]:
        one.publish(releases[0])
        good, taken = one.head.read_bytes(), []
        for tenth in range(10):
            one.head.write_bytes(good)
            _flip(one.head, tenth / 10)
            taken.append(one.update())
        one.head.write_bytes(good)
        return [*taken, one.update()]

    assert answers(both, story) == {"theirs": [*([False] * 10), True], "ours": [*([False] * 10), True]}


def test_a_mix_of_two_states(both: dict[str, Any], releases: list[Path]) -> None:
    """The new head over the old model's bytes."""

    def story(one: Any) -> list[bool]:
        one.publish(releases[0])
        old = one.object_of(releases[0]).read_bytes()
        one.publish(releases[1])
        one.object_of(releases[1]).write_bytes(old)
        return [one.update()]

    assert answers(both, story) == {"theirs": [False], "ours": [False]}


def test_endless_data(both: dict[str, Any], releases: list[Path]) -> None:
    def story(one: Any) -> list[bool]:
        one.publish(releases[0])
        good = one.head.read_bytes()
        one.head.write_bytes(good + b" " * (8 << 20))
        taken = [one.update()]
        one.head.write_bytes(good)
        path = one.object_of(releases[0])
        path.write_bytes(path.read_bytes() + os.urandom(1 << 20))
        return [*taken, one.update()]

    assert answers(both, story) == {"theirs": [False, False], "ours": [False, False]}


def test_a_stranger_signs(both: dict[str, Any], releases: list[Path], tmp_path: Path) -> None:
    def story(one: Any) -> list[bool]:
        one.publish(releases[0])
        taken = [one.update()]
        if isinstance(one, Theirs):
            one.signer = ssl_signer.CryptoSigner.generate_ed25519()
            one.publish(releases[1])
        else:
            other = core_edge_world.World(tmp_path / "stranger")
            theirs = other.export("release", seed=4).path
            channel.publish(theirs, one.served, "demo", other.key, other.trust, expires=2**33)
        return [*taken, one.update()]

    assert answers(both, story) == {"theirs": [True, False], "ours": [True, False]}


def test_the_older_of_two_heads_with_one_number(both: dict[str, Any], releases: list[Path]) -> None:
    ours = both["ours"]
    ours.publish(releases[0], days=1)
    first = ours.head.read_bytes()
    ours.publish(releases[0], days=3)
    assert ours.update() and ours.head.read_bytes() != first
    longer = ours.head.read_bytes()
    ours.publish(releases[0], days=2)
    assert ours.head.read_bytes() == longer, "never less long"
    ours.head.write_bytes(first)
    with pytest.raises(sync.Refused, match="a newer head with the number 1 was here"):
        sync.sync(sync.Source(str(ours.served)), sync.Store(ours.device), ours.keys, "")


@pytest.mark.parametrize("expires", ["soon", -1, 1.5, None, True])
def test_an_end_that_is_no_time(both: dict[str, Any], releases: list[Path], expires: Any) -> None:
    ours = both["ours"]
    ours.publish(releases[0])
    envelope = json.loads(ours.head.read_bytes())
    text = canonical.dumps({**json.loads(envelope["text"]), "expires": expires}).decode()
    signature = ours.world.key.sign(text, domain=sync.DOMAIN).value.hex()
    with pytest.raises(sync.Refused, match="an end that is no time"):
        sync.read_head(canonical.dumps({**envelope, "text": text, "signature": signature}), ours.keys)


def test_a_head_without_an_end_is_what_it_was_before_there_were_ends(
    both: dict[str, Any], releases: list[Path]
) -> None:
    """Devices with the `sync.py` of then read it, and ours reads theirs."""
    ours = both["ours"]
    head = channel.publish(releases[0], ours.served, "demo", ours.world.key, ours.world.trust)
    text = json.loads(json.loads(ours.head.read_bytes())["text"])
    assert text == {"channel": "demo", "sequence": 1, "release": head.release}
    assert ours.update()
    state = ours.device / "state.json"
    state.write_text(json.dumps({k: v for k, v in json.loads(state.read_text()).items() if k != "expires"}))
    assert ours.update()
