"""Packed weights are shared by processes: found, believed only if they are the same bytes, kept while somebody has them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lightgbm
import numpy as np
import pytest
import serving_world as world
from serving_bundles import FITTED, WIDE, Home

from mainspring.core import errors, ports
from mainspring.core.models import bundle, native_runtime, packed, signing
from mainspring.core.models import runtimes as known
from mainspring.native import mlp, targets
from mainspring.serving import bundles
from mainspring.serving.processes import weights
from mainspring.serving.runtimes import chosen

NAME = "0123456789abcdef" * 4
BATCH = ports.ModelInput(
    np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32),
    np.random.default_rng(1).integers(0, 4, (50, 1)).astype(np.int32),
)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In the place of pytest's own: a socket's path has 107 bytes at most, and the supervisor's folder is as short."""
    with tempfile.TemporaryDirectory(prefix="mainspring-") as made:
        yield Path(made)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a broker is at work."""
    with weights.Broker(tmp_path):
        yield tmp_path


@pytest.fixture
def opened(tmp_path: Path) -> bundle.Bundle:
    home = Home(tmp_path)
    return home.store.open(home.write_network(3, WIDE), signing.TrustedKeys.load(home.trusted))


def memory(text: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, text)
    return fd


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def kept() -> int:
    """Files of packed weights that this process has open: the broker's and those of leases."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += "memfd:" in os.readlink(link)
    return found


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def load(opened: bundle.Bundle, exchange: packed.Exchange | None) -> native_runtime.NativeRuntime:
    runtime = known.factories(known.Options(exchange=exchange))["embedding_mlp"](opened, FITTED.compile())
    assert isinstance(runtime, native_runtime.NativeRuntime)
    return runtime


def test_what_one_has_the_others_are_given_until_the_last_lets_go(folder: Path) -> None:
    before, made = kept(), []

    def make() -> int:
        made.append(memory(b"weights"))
        return made[-1]

    exchange = weights.Exchange(folder)
    first = exchange.take(NAME, make)
    second = weights.Exchange(folder).take(NAME, make)
    assert inode(first.fd) == inode(second.fd)
    assert len(made) == 1, "the second did not pack"
    other = exchange.take(NAME[::-1], make)
    assert (inode(other.fd) != inode(first.fd), len(made)) == (True, 2)
    first.close()
    assert os.pread(second.fd, 7, 0) == b"weights"
    second.close()
    other.close()
    until(lambda: kept() == before)
    again = exchange.take(NAME, make)
    assert len(made) == 3, "nobody had it any more"
    again.close()


def test_of_many_that_pack_at_once_all_have_the_same(folder: Path) -> None:
    barrier = threading.Barrier(8)

    def make() -> int:
        barrier.wait(20)  # all were told that there is none
        return memory(b"weights")

    before = kept()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda _: weights.Exchange(folder).take(NAME, make), range(8)))
    assert len({inode(lease.fd) for lease in leases}) == 1
    for lease in leases:
        lease.close()
    until(lambda: kept() == before)


def test_a_process_that_fails_while_it_packs_leaves_nothing(folder: Path) -> None:
    before = kept()

    def fail() -> int:
        raise RuntimeError("no memory")

    exchange = weights.Exchange(folder)
    with pytest.raises(RuntimeError, match="no memory"):
        exchange.take(NAME, fail)
    code = f"""
import os, signal, pathlib
from mainspring.serving.processes import weights
def killed():
    fd = os.memfd_create("half")
    os.write(fd, b"wei")
    os.kill(os.getpid(), signal.SIGKILL)
weights.Exchange(pathlib.Path({str(folder)!r})).take({NAME!r}, killed)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == -signal.SIGKILL
    lease = exchange.take(NAME, lambda: memory(b"weights"))
    assert os.pread(lease.fd, 9, 0) == b"weights"
    lease.close()
    until(lambda: kept() == before)


def test_what_is_no_question_ends_its_connection_and_nobody_elses(folder: Path) -> None:
    before = kept()
    lease = weights.Exchange(folder).take(NAME, lambda: memory(b"weights"))
    files = [memory(b"x") for _ in range(6)]
    packets: list[tuple[bytes, list[int]]] = [
        (b"no name", []),
        (NAME.encode()[:-1], []),
        (NAME.encode() * 3, []),  # longer than any
        (b"f" * 64, files[:2]),
        (b"f" * 64, files),  # more than are taken
        (NAME.upper().encode(), files[:1]),
    ]
    for data, sent in packets:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(20)
            connection.connect(str(folder / weights.SOCKET))
            socket.send_fds(connection, [data], sent)
            assert connection.recv(64) == b"", data
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(20)
        connection.connect(str(folder / weights.SOCKET))
        for name in (NAME, NAME[::-1]):  # a lease is of one memory
            connection.send(name.encode())
            answer, given, _, _ = socket.recv_fds(connection, 64, 1)
            assert answer == (b"have" if name == NAME else b"")
            for fd in given:
                os.close(fd)
    for fd in files:
        os.close(fd)
    second = weights.Exchange(folder).take(NAME, lambda: pytest.fail("it was there"))
    assert inode(second.fd) == inode(lease.fd)
    lease.close()
    second.close()
    until(lambda: kept() == before)


def test_nobody_to_ask_is_an_error_that_says_what_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> None:
        weights.Exchange(tmp_path).take(NAME, lambda: pytest.fail("nobody asked for it"))

    with pytest.raises(errors.DependencyDown, match="each process has its own"):
        ask()
    with weights.Broker(tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
        with pytest.raises(errors.DependencyDown, match="another user"):
            ask()
    with pytest.raises(errors.DependencyDown, match="refused"):
        ask()


def test_a_bundle_loaded_twice_is_in_memory_once(folder: Path, opened: bundle.Bundle) -> None:
    before = kept()
    alone = load(opened, None)
    assert alone.packed_size == packed.Size(own=alone.model.packed.nbytes)
    exchange = weights.Exchange(folder)
    first, second = load(opened, exchange), load(opened, exchange)
    for runtime in (first, second):
        assert runtime.packed_size == packed.Size(shared=alone.model.packed.nbytes)
        assert runtime.predict(BATCH).tobytes() == alone.predict(BATCH).tobytes()
    assert kept() == before + 3, "two leases and the broker's one"
    model = first.model
    del first, runtime
    gc.collect()
    until(lambda: kept() == before + 2)
    assert model.run(BATCH.dense, np.ascontiguousarray(BATCH.ids.T)).any(), "what is mapped stays"
    del second
    gc.collect()
    until(lambda: kept() == before)


def test_a_loaded_bundle_tells_what_is_shared_and_counts_it_in_full(folder: Path, tmp_path: Path) -> None:
    serving = world.settings_in(tmp_path).serving
    home = Home(tmp_path, chosen.runtimes(serving, weights.Exchange(folder)))
    loaded = home.loader.load(home.write_network(1, WIDE))
    view = bundles.Shelved(loaded, 0.5).view
    assert (view.packed_own_bytes, view.packed_shared_bytes > packed.LEAST_BYTES) == (0, True)
    assert view.memory_bytes >= view.packed_shared_bytes
    small = bundles.Shelved(home.loader.load(home.write_network(1)), 0.5).view
    assert (small.packed_own_bytes > 0, small.packed_shared_bytes) == (True, 0)


def test_trees_are_in_memory_once(folder: Path, tmp_path: Path) -> None:
    columns = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    columns[:, 2] = np.arange(4000) % 4
    data = lightgbm.Dataset(columns, columns[:, 0] * columns[:, 1])
    made = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 60)
    home = Home(tmp_path)
    model = {"format": "lightgbm", "dense_width": 2, "id_columns": ["carrier"]}
    digest = home.write(kind="trees", model=model, weights=made.model_to_string().encode())
    opened = home.store.open(digest, signing.TrustedKeys.load(home.trusted))
    before = kept()
    exchange = weights.Exchange(folder)
    alone, *both = (
        known.factories(known.Options(exchange=e))["trees"](opened, FITTED.compile())
        for e in (None, exchange, exchange)
    )
    assert packed.size_of(alone).own > packed.LEAST_BYTES
    for runtime in both:
        assert packed.size_of(runtime) == packed.Size(shared=packed.size_of(alone).own)
        assert runtime.predict(BATCH).tobytes() == alone.predict(BATCH).tobytes()
    assert np.ptp(alone.predict(BATCH)) > 0.5
    assert kept() == before + 3
    del runtime, both
    gc.collect()
    until(lambda: kept() == before)


class Given:
    """An exchange that has what it was told to have."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.closed = 0

    def take(self, name: str, make: Callable[[], int]) -> Given:
        return self

    def close(self) -> None:
        os.close(self.fd)
        self.closed += 1


def sealed(data: bytes) -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


def changed(model: mlp.Mlp) -> bytes:
    """In one bit."""
    other = model.packed.copy()
    other[len(other) // 2] ^= 1
    return other.tobytes()


@pytest.mark.parametrize("target", targets.available())
@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda model: memory(model.packed.tobytes()), "sealed"),
        (lambda model: memory(model.packed[:-64].tobytes()), "sealed"),
        (lambda model: sealed(model.packed[:-64].tobytes()), "as long as"),
        (lambda model: sealed(bytes(model.packed.nbytes)), "the bytes"),
        (lambda model: sealed(changed(model)), "the bytes"),
    ],
)
def test_memory_that_is_not_the_same_is_refused_and_the_own_one_kept(
    opened: bundle.Bundle,
    caplog: pytest.LogCaptureFixture,
    made: Callable[[mlp.Mlp], int],
    why: str,
    target: str,
) -> None:
    alone = native_runtime.NativeRuntime.load(opened, target=target)
    given = Given(made(alone.model))
    runtime = native_runtime.NativeRuntime.load(opened, target=target, exchange=given)
    assert (runtime.model.is_mapped, given.closed) == (False, 1)
    assert runtime.predict(BATCH).tobytes() == alone.predict(BATCH).tobytes()
    (line,) = [record.getMessage() for record in caplog.records]
    assert (why in line, opened.digest in line) == (True, True), line


def test_without_a_supervisor_each_has_its_own(
    tmp_path: Path, opened: bundle.Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = load(opened, weights.Exchange(tmp_path / "nowhere"))
    assert (runtime.model.is_mapped, runtime.packed_size.shared) == (False, 0)
    assert "not shared with other processes" in caplog.text
    small = small_bundle(tmp_path / "small")
    assert load(small, weights.Exchange(tmp_path / "nowhere")).packed_size.own > 0
    assert caplog.text.count("not shared") == 1, "small ones are not asked for"


def small_bundle(directory: Path) -> bundle.Bundle:
    directory.mkdir()
    home = Home(directory)
    return home.store.open(home.write_network(), signing.TrustedKeys.load(home.trusted))


LOADER = """
import pathlib, sys
import numpy as np
from mainspring.core import ports
from mainspring.core.models import bundle, native_runtime, signing
from mainspring.serving.processes import weights
folder = pathlib.Path(sys.argv[1])
opened = bundle.BundleStore(folder / "bundles").open(sys.argv[2], signing.TrustedKeys.load(folder / "trusted"))
sys.stdin.readline()
runtime = native_runtime.NativeRuntime.load(opened, exchange=weights.Exchange(folder))
dense = np.linspace(-1, 1, 100, dtype=np.float32).reshape(50, 2)
print(runtime.predict(ports.ModelInput(dense, np.zeros((50, 1), np.int32))).tobytes().hex())
maps = [line.split()[4] for line in open("/proc/self/maps") if "memfd:mainspring-model" in line]
print(" ".join(sorted(set(maps))), flush=True)
sys.stdin.readline()
"""


class Loader:
    """A process that loads a bundle when it is told to."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOADER, str(folder), digest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self) -> tuple[str, str]:
        """Its scores, and the inodes of what it mapped."""
        assert self.process.stdout is not None
        return self.process.stdout.readline(), self.process.stdout.readline()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_processes_that_start_at_once_share_and_a_killed_one_takes_nothing(
    folder: Path, opened: bundle.Bundle
) -> None:
    before = kept()
    loaders = [Loader(folder, opened.digest) for _ in range(3)]
    try:
        for loader in loaders[:2]:
            loader.go()
        answers = [loader.answer() for loader in loaders[:2]]
        assert (len(set(answers)), len(answers[0][1].split())) == (1, 1), answers
        loaders[0].kill()
        loaders[2].go()
        assert loaders[2].answer() == answers[0]
        for loader in loaders[1:]:
            loader.kill()
        until(lambda: kept() == before)
    finally:
        for loader in loaders:
            loader.kill()


def test_a_broker_that_ends_lets_go_of_all(tmp_path: Path) -> None:
    before = kept()
    with weights.Broker(tmp_path):
        lease = weights.Exchange(tmp_path).take(NAME, lambda: memory(b"weights"))
    assert kept() == before + 1
    lease.close()
    (tmp_path / weights.SOCKET).unlink()
    with weights.Broker(tmp_path):
        pass
    with pytest.raises(OSError, match="in use"):
        weights.Broker(tmp_path)
