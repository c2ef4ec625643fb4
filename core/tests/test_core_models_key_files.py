"""A producer's key changes: one signs at every moment, what is trusted is known, and bundles keep their names."""

from __future__ import annotations

import dataclasses
import os
import stat
import threading
from pathlib import Path

import pytest
from bundle_contents import CONTENTS

from mainspring.core import errors
from mainspring.core.contracts import base, keys
from mainspring.core.models import bundle, key_files, signing, withdrawn_keys


class Producer:
    def __init__(self, directory: Path) -> None:
        self.path, self.trusted = directory / "keys" / "signing.key", directory / "trusted"
        self.first = signing.ensure_key(self.path)
        self.first.publish(self.trusted)
        self.store = bundle.BundleStore(directory / "bundles")

    def signer(self) -> str:
        return signing.SigningKey.load(self.path).key_id

    def trust(self, *, even_withdrawn: bool = False) -> signing.TrustedKeys:
        return signing.TrustedKeys.load(self.trusted, even_withdrawn=even_withdrawn)

    def mark(
        self, key_id: str, reason: str = "it is old", *, is_compromised: bool = False
    ) -> keys.KeyWithdrawal:
        mark = keys.KeyWithdrawal(
            key_id=key_id, reason=reason, by="ana", at=base.utc_now(), is_compromised=is_compromised
        )
        return withdrawn_keys.mark(self.trusted, mark)


@pytest.fixture
def producer(tmp_path: Path) -> Producer:
    return Producer(tmp_path)


def test_a_new_key_is_trusted_before_it_signs_and_the_old_one_is_kept_until_it_goes(
    producer: Producer,
) -> None:
    path, old = producer.path, producer.first.key_id
    turn = key_files.begin(path, producer.trusted)
    assert key_files.begin(path, producer.trusted) == turn and turn.old == old != turn.new
    assert producer.signer() == old and set(producer.trust().key_ids) == {old, turn.new}
    assert key_files.switch(path, turn) and not key_files.switch(path, turn)
    assert producer.signer() == turn.new
    before = key_files.previous(path)
    assert before is not None and before.key_id == old
    # A rotation that did not end goes on with its keys.
    assert key_files.begin(path, producer.trusted) == turn
    for _ in range(2):
        key_files.forget_previous(path)
    assert key_files.previous(path) is None
    assert [p.name for p in path.parent.iterdir()] == ["signing.key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    following = key_files.begin(path, producer.trusted)
    assert following.old == turn.new


def test_a_crash_in_the_middle_of_the_switch_leaves_a_key_that_signs(producer: Producer) -> None:
    turn = key_files.begin(producer.path, producer.trusted)
    os.link(producer.path, producer.path.with_name("signing.key.previous"))  # and then it died
    assert producer.signer() == turn.old
    assert key_files.begin(producer.path, producer.trusted) == turn
    assert key_files.switch(producer.path, turn) and producer.signer() == turn.new


def test_keys_that_somebody_else_changed_are_a_conflict(producer: Producer) -> None:
    turn = key_files.begin(producer.path, producer.trusted)
    producer.path.with_name("signing.key.next").unlink()
    with pytest.raises(errors.Conflict, match="start the rotation again"):
        key_files.switch(producer.path, turn)
    assert producer.signer() == turn.old
    with pytest.raises(errors.MissingTool):
        key_files.begin(producer.path.with_name("none.key"), producer.trusted)


def test_a_denied_key_is_in_no_file_and_another_one_signs(producer: Producer) -> None:
    path, old = producer.path, producer.first.key_id
    turn = key_files.begin(path, producer.trusted)
    key_files.switch(path, turn)
    # In the overlap the new one leaks; then the old one, too.
    third = key_files.replace(path, turn.new, producer.trusted)
    assert third not in (old, turn.new) and producer.signer() == third
    assert key_files.replace(path, turn.new, producer.trusted) == third  # said again
    before = key_files.previous(path)
    assert before is not None and before.key_id == old
    assert key_files.replace(path, old, producer.trusted) == third
    assert key_files.previous(path) is None and third in producer.trust().key_ids
    assert key_files.replace(path.with_name("none.key"), old, producer.trusted) == ""


def test_a_mark_counts_whoever_publishes_the_key_again(producer: Producer) -> None:
    made = producer.store.write(CONTENTS, producer.first)
    producer.mark(producer.first.key_id)
    producer.first.publish(producer.trusted)
    assert producer.trust().key_ids == ()
    with pytest.raises(errors.PolicyDenied, match="which was withdrawn: it is old; sign it again") as denied:
        producer.store.open(made.digest, producer.trust())
    assert denied.value.rule_id == signing.WITHDRAWN_RULE
    assert producer.trust(even_withdrawn=True).key_ids == (producer.first.key_id,)
    assert producer.mark(producer.first.key_id, "said otherwise").reason == "it is old"
    worse = producer.mark(producer.first.key_id, "it leaked", is_compromised=True)
    assert worse.reason == "it leaked" and producer.mark(producer.first.key_id).reason == "it leaked"


def test_a_mark_that_cannot_be_read_is_one(producer: Producer) -> None:
    hex_id = producer.first.key_id.removeprefix("sha256:")
    (producer.trusted / f"{hex_id}.withdrawn.json").write_text("{")
    (producer.trusted / "notes.withdrawn.json").write_text("no key's")
    assert producer.trust().key_ids == ()
    found = withdrawn_keys.find(producer.trusted, producer.first.key_id)
    assert found is not None and found.is_compromised and "cannot be read" in found.reason
    assert withdrawn_keys.marked(producer.trusted) == {producer.first.key_id}
    assert withdrawn_keys.marked(producer.trusted / "nowhere") == frozenset()


def test_a_bundle_keeps_its_name_when_it_is_signed_again(producer: Producer) -> None:
    made = producer.store.write(CONTENTS, producer.first)
    old_signature = (made.path / "signature.json").read_bytes()
    turn = key_files.begin(producer.path, producer.trusted)
    key_files.switch(producer.path, turn)
    key = signing.SigningKey.load(producer.path)
    before, was = producer.store.sign_again(made.digest, key, producer.trust())
    assert before.signer == producer.first.key_id and was.to_bytes() == old_signature
    assert producer.store.sign_again(made.digest, key, producer.trust())[1].key_id == key.key_id  # again
    producer.mark(producer.first.key_id)
    opened = producer.store.open(made.digest, producer.trust())
    assert (opened.digest, opened.signer) == (made.digest, key.key_id)
    assert opened.origin is not None and made.origin is not None
    assert opened.origin == dataclasses.replace(
        made.origin, signer=key.key_id
    )  # what it says of the build stays
    assert [p.name for p in producer.store.root.iterdir()] == [made.path.name]
    # Whoever wrote it before the switch and comes again after a crash has the next key, and is told of no conflict.
    assert producer.store.write(CONTENTS, producer.first, trust=producer.trust()).signer == key.key_id
    stranger = signing.ensure_key(producer.path.with_name("stranger.key"))
    with pytest.raises(errors.Conflict, match="already signed by"):
        producer.store.write(CONTENTS, stranger)


def test_a_crash_between_the_two_files_is_made_good(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = producer.store.write(CONTENTS, producer.first)
    other = signing.ensure_key(producer.path.with_name("other.key"))
    other.publish(producer.trusted)
    whole = producer.store._replace

    def dies(path: Path, content: bytes) -> None:
        if path.name == bundle.SIGNATURE:
            raise OSError("no space left on device")
        whole(path, content)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(producer.store, "_replace", dies)
        producer.store.sign_again(made.digest, other, producer.trust())
    half = producer.store.open(made.digest, producer.trust())
    assert half.signer == producer.first.key_id and half.origin is not None
    assert half.origin.signer == other.key_id
    producer.store.sign_again(made.digest, other, producer.trust())
    producer.mark(producer.first.key_id)
    assert producer.store.open(made.digest, producer.trust()).signer == other.key_id


def test_what_was_changed_or_signed_by_a_stranger_is_not_signed_again(producer: Producer) -> None:
    made = producer.store.write(CONTENTS, producer.first)
    other = signing.ensure_key(producer.path.with_name("other.key"))
    card = made.path / "card.md"
    card.chmod(0o644)
    good = card.read_bytes()
    card.write_bytes(b"# Another\n")
    with pytest.raises(errors.CorruptArtifact):
        producer.store.sign_again(made.digest, other, producer.trust())
    card.write_bytes(good)
    with pytest.raises(errors.PolicyDenied, match="none of 0 trusted keys"):
        producer.store.sign_again(made.digest, other, signing.TrustedKeys([]))
    with pytest.raises(errors.NotFound):
        producer.store.sign_again("sha256:" + "0" * 64, other, producer.trust())
    assert producer.store.open(made.digest, producer.trust()).signer == producer.first.key_id
    assert producer.store.signature("sha256:" + "0" * 64) is None


def test_who_opens_it_meanwhile_always_can(producer: Producer) -> None:
    """Two keys take turns in signing, a hundred times, and another thread opens the bundle over and over."""
    made = producer.store.write(CONTENTS, producer.first)
    other = signing.ensure_key(producer.path.with_name("other.key"))
    other.publish(producer.trusted)
    trust, stop, opened, wrong = producer.trust(), threading.Event(), [0], []

    def look() -> None:
        while not stop.is_set():
            try:
                producer.store.open(made.digest, trust)
                opened[0] += 1
            except errors.MainspringError as error:
                wrong.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    for turn in range(100):
        producer.store.sign_again(made.digest, (other, producer.first)[turn % 2], trust)
    stop.set()
    looking.join()
    assert wrong == [] and opened[0] > 0
