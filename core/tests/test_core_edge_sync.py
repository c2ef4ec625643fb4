"""Devices pull releases: only what changed, only what is signed, never backwards, and never half."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import core_edge_world
import pytest

from mainspring.core import canonical, errors
from mainspring.core.edge import channel
from mainspring.core.edge.device import sync
from mainspring.core.models import signing

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> core_edge_world.World:
    return core_edge_world.World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def exported(world: core_edge_world.World) -> list[Path]:
    """Three releases that differ in their weights alone."""
    return [world.export(f"release-{seed}", seed=seed).path for seed in (3, 4, 5)]


class Web(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and counts what was asked for. `cut`: objects that break off in the middle."""

    asked: list[str] = []
    cut: set[str] = set()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if any(c in self.path for c in self.cut):
            self.send_response(200)
            self.send_header("content-length", "1000000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


class Field:
    """A channel behind a web server, and one device."""

    def __init__(self, folder: Path, world: core_edge_world.World, url: str) -> None:
        self.channel = folder / "channel"
        self.device = folder / "device"
        self.world = world
        self.url = url
        self.key = world.key.public_bytes.hex()

    def publish(self, release: Path) -> channel.Head:
        return channel.publish(release, self.channel, "demo", self.world.key, self.world.trust)

    def sync(self, *more: str, source: str = "", key: str = "") -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-I",
            "-S",
            sync.__file__,
            "--from",
            source or self.url,
            "--to",
            str(self.device),
        ]
        kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        return subprocess.run(
            [*command, "--key", key or self.key, *more], env=kept, capture_output=True, text=True, timeout=60
        )

    def current(self) -> str:
        return "sha256:" + (self.device / "current").resolve().name

    def runs(self) -> bool:
        row = {"stats__share": 0.5, "x": 1.0, "carrier": "AA", "gate": 1}
        done = subprocess.run(
            [sys.executable, str(self.device / "current" / "run.py")],
            input=json.dumps(row),
            env=core_edge_world.device_environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode == 0 and 0 < float(done.stdout) < 1


@pytest.fixture
def field(tmp_path: Path, world: core_edge_world.World) -> Iterator[Field]:
    Web.asked, Web.cut = [], set()
    (tmp_path / "channel").mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Web, directory=str(tmp_path / "channel"))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Field(tmp_path, world, f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_device_follows_its_channel_and_fetches_what_changed(field: Field, exported: list[Path]) -> None:
    first = field.publish(exported[0])
    assert (first.sequence, field.publish(exported[0])) == (1, first)
    done = field.sync()
    assert done.returncode == 0 and done.stdout.startswith("updated: number 1"), done.stderr
    assert field.current() == first.release and field.runs()
    everything = len(Web.asked)
    assert field.sync().stdout.startswith("current: number 1")
    assert Web.asked[everything:] == ["/head.json"]
    second = field.publish(exported[1])
    done = field.sync()
    assert field.current() == second.release and field.runs()
    # The head, the listing, and the weights: the core and the plan are here.
    assert len(Web.asked) == everything + 1 + 3
    fetched = int(done.stdout.split(" bytes")[0].rsplit(" ", 1)[1])
    weights = (exported[1] / "weights.safetensors").stat().st_size
    listing = (exported[1] / "release.json").stat().st_size
    assert fetched == weights + listing < 20_000


def test_a_folder_is_a_source_too(field: Field, exported: list[Path]) -> None:
    head = field.publish(exported[0])
    assert field.sync(source=str(field.channel)).returncode == 0
    assert field.current() == head.release


def test_going_back_is_an_operators_step_and_needs_no_download(field: Field, exported: list[Path]) -> None:
    for release in (exported[0], exported[1]):
        field.publish(release)
        assert field.sync().returncode == 0
    again = field.publish(exported[0])
    assert again.sequence == 3
    before = len(Web.asked)
    assert field.sync().stdout.endswith(" 0 bytes fetched\n")
    assert field.current() == again.release and len(Web.asked) == before + 1


def refused(field: Field, words: str, *more: str, **how: str) -> None:
    before = field.current() if (field.device / "current").exists() else ""
    done = field.sync(*more, **how)
    assert done.returncode == 2 and done.stdout == "", (done.stdout, done.stderr)
    assert words in done.stderr, done.stderr
    assert (field.current() if (field.device / "current").exists() else "") == before
    if before:
        assert field.runs()


def test_a_rollback_is_refused(field: Field, exported: list[Path]) -> None:
    field.publish(exported[0])
    old = (field.channel / "head.json").read_bytes()
    field.publish(exported[1])
    assert field.sync().returncode == 0
    (field.channel / "head.json").write_bytes(old)
    refused(field, "a rollback")


def test_two_heads_of_one_number_and_another_channel_are_refused(
    field: Field, exported: list[Path], tmp_path: Path
) -> None:
    field.publish(exported[0])
    assert field.sync().returncode == 0
    for name, words in (("demo", "two heads have the number 1"), ("other", "is of channel `other`")):
        other = tmp_path / name
        channel.publish(exported[1], other, name, field.world.key, field.world.trust)
        refused(field, words, source=str(other))
    shutil.rmtree(field.device)
    refused(field, "is of channel `demo`", "--channel", "else")


def test_who_signs_is_pinned(field: Field, exported: list[Path], tmp_path: Path) -> None:
    field.publish(exported[0])
    stranger = signing.ensure_key(tmp_path / "stranger.pem")
    refused(field, "none of this device's keys", key=stranger.public_bytes.hex())
    envelope = json.loads((field.channel / "head.json").read_bytes())
    forged = {**envelope, "text": envelope["text"].replace('"sequence":1', '"sequence":9')}
    (field.channel / "head.json").write_text(json.dumps(forged))
    refused(field, "does not verify")
    # A good signature of the right key, of something else.
    other = field.world.key.sign(envelope["text"])
    (field.channel / "head.json").write_text(json.dumps({**envelope, "signature": other.value.hex()}))
    refused(field, "does not verify")
    (field.channel / "head.json").write_bytes(b"\x00")
    refused(field, "the head is damaged")
    (field.channel / "head.json").write_bytes(b" " * 2_000_000)
    refused(field, "more than the 1048576 bytes")


def test_while_keys_change_devices_with_either_follow(
    field: Field, exported: list[Path], tmp_path: Path
) -> None:
    old, new = field.world.key, signing.ensure_key(tmp_path / "new.pem")
    new.publish(tmp_path / "trusted")
    trust = signing.TrustedKeys.load(field.world.directory / "trusted")
    both = channel.publish(exported[0], field.channel, "demo", new, trust, old)
    assert both.sequence == 1
    for key in (old, new):
        assert field.sync(key=key.public_bytes.hex()).returncode == 0
    # After the overlap the same release is signed by the new key alone, under its old number.
    assert channel.publish(exported[0], field.channel, "demo", new, trust) == both
    assert field.sync(key=new.public_bytes.hex()).returncode == 0
    refused(field, "none of this device's keys", key=old.public_bytes.hex())
    # A second signature that is forged helps nobody, and one of a stranger harms nobody.
    channel.publish(exported[0], field.channel, "demo", new, trust, old)
    envelope = json.loads((field.channel / "head.json").read_bytes())
    forged = {**envelope, "also": [{**envelope["also"][0], "signature": "00" * 64}]}
    (field.channel / "head.json").write_text(json.dumps(forged))
    refused(field, "does not verify", key=new.public_bytes.hex())
    assert field.sync(key=old.public_bytes.hex()).returncode == 0
    for bad in ("x", [{}], {"key_id": 1}):
        (field.channel / "head.json").write_text(json.dumps({**envelope, "also": bad}))
        refused(field, "the head is damaged", key=new.public_bytes.hex())


def test_every_bit_of_every_object_counts(field: Field, exported: list[Path]) -> None:
    field.publish(exported[0])
    assert field.sync().returncode == 0
    field.publish(exported[1])
    chance = random.Random(1)
    fresh = [
        path
        for path in (field.channel / "objects").iterdir()
        if path.name in (exported[1] / "release.json").read_text()
        and path.name not in (exported[0] / "release.json").read_text()
    ]
    fresh.append(field.channel / "objects" / channel.read_head(field.channel).release.removeprefix("sha256:"))  # type: ignore[union-attr]
    assert len(fresh) == 2
    for path in fresh:
        good = path.read_bytes()
        for _ in range(4):
            bad = bytearray(good)
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
            path.write_bytes(bad)
            refused(field, "has other bytes than its name says")
            # What was fetched and is good would be taken from here.
            shutil.rmtree(field.device / "incoming")
        path.write_bytes(good)
    assert field.sync().returncode == 0 and field.runs()


def test_a_damaged_device_mends_itself_with_the_damaged_file(field: Field, exported: list[Path]) -> None:
    field.publish(exported[0])
    field.sync()
    weights = field.device / "current" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert not field.runs()
    before = len(Web.asked)
    assert field.sync().stdout.startswith("updated")
    assert field.runs() and len(Web.asked) == before + 3


def test_out_of_reach_what_is_here_runs_on(field: Field, exported: list[Path]) -> None:
    gone = "http://127.0.0.1:9"
    done = field.sync(source=gone)
    assert done.returncode == 1 and "no release is here" in done.stderr
    head = field.publish(exported[0])
    assert field.sync().returncode == 0
    for source in (gone, str(field.channel / "nowhere"), f"{field.url}/nowhere"):
        done = field.sync(source=source)
        assert done.returncode == 0 and done.stderr.startswith("unreachable: ") and " stays" in done.stderr
    assert field.current() == head.release and field.runs()


def test_a_connection_that_breaks_is_gone_on_with(field: Field, exported: list[Path]) -> None:
    field.publish(exported[0])
    entry = json.loads((exported[0] / "release.json").read_bytes())["files"]["weights.safetensors"]
    Web.cut = {entry["digest"].removeprefix("sha256:")}
    done = field.sync()
    assert done.returncode == 1 and "unreachable" in done.stderr and not (field.device / "current").exists()
    Web.cut = set()
    assert field.sync().returncode == 0 and field.runs()
    # What was whole when it broke was not fetched again.
    names = [path for path in Web.asked if path.startswith("/objects/")]
    assert len(names) == len(set(names)) + 1


def test_a_release_of_another_machine_is_refused(field: Field, exported: list[Path], tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(exported[0], foreign)
    listing = json.loads((foreign / "release.json").read_bytes())
    listing["platform"]["machine"] = "riscv64"
    sign(foreign, listing, field.world)
    field.publish(foreign)
    refused(field, "is made for")


def sign(folder: Path, listing: dict[str, Any], world: core_edge_world.World) -> None:
    from mainspring.core.edge import export

    data = canonical.dumps(listing)
    (folder / "release.json").write_bytes(data)
    signature = world.key.sign(canonical.digest_bytes(data), domain=export.DOMAIN)
    (folder / "signature.json").write_bytes(signature.to_bytes())


def test_no_file_leaves_its_release(field: Field, exported: list[Path], tmp_path: Path) -> None:
    outside = tmp_path / "evil" / "release"
    shutil.copytree(exported[0], outside)
    (outside.parent / "planted.py").write_text("evil")
    listing = json.loads((outside / "release.json").read_bytes())
    digest = "sha256:" + hashlib.sha256(b"evil").hexdigest()
    listing["files"]["../planted.py"] = {"digest": digest, "bytes": 4}
    sign(outside, listing, field.world)
    field.publish(outside)
    refused(field, "which is no file of a release")
    assert not list(field.device.rglob("planted.py"))


def test_a_lost_memory_is_not_begun_anew(field: Field, exported: list[Path]) -> None:
    field.publish(exported[0])
    field.sync()
    (field.device / "state.json").write_text("{")
    refused(field, "`state.json` is damaged")


def test_two_releases_stay(field: Field, exported: list[Path]) -> None:
    for release in exported:
        field.publish(release)
        assert field.sync().returncode == 0
    assert len(list((field.device / "releases").iterdir())) == 2
    assert list((field.device / "incoming").iterdir()) == []


def test_killed_anywhere_a_device_has_one_whole_release(field: Field, exported: list[Path]) -> None:
    """kill -9 at random moments of forty pulls: `current` is always a whole release, and the next pull gets there."""
    field.publish(exported[0])
    assert field.sync().returncode == 0
    chance = random.Random(2)
    command = [
        sys.executable,
        "-I",
        "-S",
        sync.__file__,
        "--from",
        str(field.channel),
        "--to",
        str(field.device),
    ]
    killed = 0
    for turn in range(40):
        field.publish(exported[(turn + 1) % 3])
        with subprocess.Popen(
            [*command, "--key", field.key], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as one:
            time.sleep(chance.uniform(0.03, 0.16))
            killed += one.poll() is None
            one.send_signal(signal.SIGKILL)
        current = (field.device / "current").resolve()
        assert sync.damaged(current) == ""
        if turn % 4 == 3:
            assert field.sync().returncode == 0
            assert field.current() == channel.read_head(field.channel).release  # type: ignore[union-attr]
    assert killed >= 5


def test_publishing_checks_first_and_one_at_a_time(
    field: Field, exported: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(errors.NotFound):
        field.publish(tmp_path / "nothing")
    with pytest.raises(errors.InvalidRequest):
        channel.publish(exported[0], field.channel, "Bad Name", field.world.key, field.world.trust)
    nobody = signing.TrustedKeys([])
    with pytest.raises(errors.PolicyDenied):
        channel.publish(exported[0], field.channel, "demo", field.world.key, nobody)
    damaged = tmp_path / "damaged"
    shutil.copytree(exported[0], damaged)
    (damaged / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(errors.CorruptArtifact, match=r"weights\.safetensors"):
        field.publish(damaged)
    assert channel.read_head(field.channel) is None and not (field.channel / "objects").exists()
    field.publish(exported[0])
    with pytest.raises(errors.Conflict, match="is the channel `demo`"):
        channel.publish(exported[1], field.channel, "other", field.world.key, field.world.trust)
    (field.channel / "head.json").write_text("{}")
    with pytest.raises(errors.CorruptArtifact, match="put back the last good one"):
        field.publish(exported[1])
