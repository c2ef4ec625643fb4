"""Large payloads of workflows in an object store: there and back, verified, and typed where the store is not as it should be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import integration_object_store
import pytest
from temporalio.api.common.v1 import Payload

from mainspring.core import errors
from mainspring.core.client import claims
from mainspring.core.features import objects

pytestmark = pytest.mark.integration

PREFIX = "claims/of-one"
PLACE = f"s3://{integration_object_store.BUCKET}/{PREFIX}/"
LARGE = Payload(metadata={"encoding": b"json/plain"}, data=b"x" * (claims.CLAIM_BYTES + 1))


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[integration_object_store.ObjectStore]:
    with integration_object_store.started(tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture
def store(
    bucket: integration_object_store.ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[claims.ClaimStore]:
    """Credentials are those of the process."""
    for name, value in bucket.options().items():
        monkeypatch.setenv(name.upper(), value)
    forget_clients()
    yield claims.ClaimStore(PLACE)
    forget_clients()


def forget_clients() -> None:
    """A process has one store, whose clients it keeps; a run of tests has several on other ports."""
    objects._store.cache_clear()


def test_a_claim_of_a_bucket_comes_back_and_is_verified(
    store: claims.ClaimStore, bucket: integration_object_store.ObjectStore
) -> None:
    out = asyncio.run(store.keep(LARGE))
    assert asyncio.run(store.keep(LARGE)) == out and out.ByteSize() < 200
    assert asyncio.run(store.fetch(out)) == LARGE
    digest = json.loads(out.data)["sha256"]
    key = f"{PREFIX}/{digest[:2]}/{digest}"
    bucket.put(key, b"something else")
    with pytest.raises(errors.CorruptArtifact, match="was changed"):
        asyncio.run(store.fetch(out))
    bucket.delete(key)
    with pytest.raises(errors.NotFound, match=r"is not in `s3://.*`workflow\.claims`"):
        asyncio.run(store.fetch(out))
    assert store.sweep(0.0) == 0, "a bucket has its own rule"


def test_who_may_not_write_there_is_told(store: claims.ClaimStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other-secret")
    forget_clients()
    with pytest.raises(errors.PermissionDenied, match="refuses"):
        asyncio.run(store.keep(LARGE))
