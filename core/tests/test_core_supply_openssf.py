"""OpenSSF's own verifier takes our bundles with the public key, and refuses what ours refuses."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_contents import CONTENTS
from model_signing import verifying

from mainspring.core import errors
from mainspring.core.models import bundle, signing
from mainspring.core.supply import openssf


class Home:
    def __init__(self, directory: Path) -> None:
        self.key = signing.ensure_key(directory / "signer.pem")
        self.key.publish(directory / "trusted")
        self.public = (
            directory / "trusted" / (self.key.key_id.removeprefix("sha256:") + signing.OPENSSF_SUFFIX)
        )
        self.trust = signing.TrustedKeys.load(directory / "trusted")
        self.store = bundle.BundleStore(directory / "bundles")
        self.written = self.store.write(CONTENTS, self.key)

    def theirs(self) -> None:
        """Errors: whatever OpenSSF's verifier raises."""
        path = self.written.path
        config = verifying.Config().use_elliptic_key_verifier(public_key=self.public)
        config.verify(path, path / openssf.FILE)

    def ours(self) -> None:
        self.store.open(self.written.digest, self.trust)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_same_key_gives_the_same_second_key(home: Home, tmp_path: Path) -> None:
    again = signing.SigningKey.load(tmp_path / "signer.pem")
    assert again.p256_public_pem() == home.key.p256_public_pem() == home.public.read_bytes()
    other = signing.ensure_key(tmp_path / "other.pem")
    assert other.p256_public_pem() != home.key.p256_public_pem()


def test_both_take_it(home: Home) -> None:
    home.theirs()
    home.ours()


def test_their_command_line_takes_it(home: Home) -> None:
    path = home.written.path
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(path)]
    done = subprocess.run(
        [*command, "--signature", str(path / openssf.FILE), "--public_key", str(home.public)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "attack",
    [
        lambda p: flip(p / "weights.safetensors"),
        lambda p: flip(p / "manifest.json"),
        lambda p: flip(p / "sbom" / "bundle.json"),
        lambda p: flip(p / openssf.FILE),
        lambda p: (p / "card.md").unlink(),
        lambda p: (p / "more.txt").write_text("x"),
        lambda p: (p / "plan.json").rename(p / "plan2.json"),
    ],
)
def test_both_refuse_the_same(home: Home, attack: Callable[[Path], object]) -> None:
    attack(home.written.path)
    with pytest.raises(Exception):  # noqa: B017 - theirs raises what it likes
        home.theirs()
    with pytest.raises(errors.MainspringError):
        home.ours()


def test_another_s_signature_is_refused_by_both(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    mine = home.written.path / openssf.FILE
    mine.unlink()
    mine.write_bytes((other.written.path / openssf.FILE).read_bytes())
    with pytest.raises(ValueError, match="Key mismatch"):
        home.theirs()
    with pytest.raises(errors.CorruptArtifact, match="OpenSSF signature"):
        home.ours()
