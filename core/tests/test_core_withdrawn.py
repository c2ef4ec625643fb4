"""Marks of withdrawn bundles: there whole, first reason kept, and a no even where they cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainspring.core import errors
from mainspring.core.contracts import prediction
from mainspring.core.models import withdrawn

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def withdrawal(digest: str = DIGEST, reason: str = "it leaks", **more: bool) -> prediction.BundleWithdrawal:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    return prediction.BundleWithdrawal(digest=digest, reason=reason, by="ana", at=at, **more)


def test_a_marked_bundle_is_denied_with_its_reason_and_others_are_not(tmp_path: Path) -> None:
    withdrawn.check(tmp_path / "nothing", DIGEST)
    assert withdrawn.mark(tmp_path, withdrawal()) == withdrawal() == withdrawn.find(tmp_path, DIGEST)
    with pytest.raises(
        errors.PolicyDenied, match="was withdrawn by `ana`: it leaks; deploy another"
    ) as caught:
        withdrawn.check(tmp_path, DIGEST)
    assert caught.value.rule_id == "bundle.withdrawn"
    withdrawn.check(tmp_path, OTHER)
    assert withdrawn.marked(tmp_path) == {DIGEST} and withdrawn.marked(tmp_path / "no") == frozenset()


def test_the_first_reason_stays(tmp_path: Path) -> None:
    first = withdrawn.mark(tmp_path, withdrawal(is_revocation=True))
    assert withdrawn.mark(tmp_path, withdrawal(reason="another")) == first
    with pytest.raises(errors.PolicyDenied, match="was revoked"):
        withdrawn.check(tmp_path, DIGEST)


@pytest.mark.parametrize("content", [b"", b"{", b'{"digest": "x"}', b"\xff"])
def test_a_mark_that_cannot_be_read_denies_too(tmp_path: Path, content: bytes) -> None:
    withdrawn.mark(tmp_path, withdrawal())
    (tmp_path / "withdrawn" / f"{'a' * 64}.json").write_bytes(content)
    with pytest.raises(errors.PolicyDenied, match="cannot be read"):
        withdrawn.check(tmp_path, DIGEST)
    assert withdrawn.marked(tmp_path) == {DIGEST}


def test_a_watch_tells_of_new_marks_once_and_again_after_a_failure(tmp_path: Path) -> None:
    withdrawn.mark(tmp_path, withdrawal())
    told: list[str] = []
    failures = [OSError("busy")]

    def tell(digest: str) -> None:
        if failures:
            raise failures.pop()
        told.append(digest)

    watch = withdrawn.Watch(tmp_path, tell)
    watch.look()
    assert told == []  # it was there before
    withdrawn.mark(tmp_path, withdrawal(OTHER))
    (tmp_path / "withdrawn" / "notes.txt").write_text("no mark")
    with pytest.raises(OSError):
        watch.look()
    watch.look()
    watch.look()
    assert told == [OTHER]
