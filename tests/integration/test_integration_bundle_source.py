"""Bundles of an object store are served: brought once, verified on their way, and refused where they are not what was signed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import integration_object_store
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "serving" / "tests"))
import serving_bundles
from serving_world import settings_in

from mainspring.core import errors
from mainspring.core.contracts import prediction
from mainspring.core.models import bundle, fetched, signing, withdrawn
from mainspring.serving import assembly, signed_bundles
from mainspring.serving.models import bundle_models
from mainspring.serving.runtimes import chosen

pytestmark = pytest.mark.integration

SOURCE = f"s3://{integration_object_store.BUCKET}/bundles/"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[integration_object_store.ObjectStore]:
    with integration_object_store.started(tmp_path_factory.mktemp("store")) as found:
        yield found


class Shipped:
    """A signed bundle whose files lie in the bucket, and an empty store here."""

    def __init__(self, bucket: integration_object_store.ObjectStore, tmp_path: Path, seed: int) -> None:
        (tmp_path / "made").mkdir()
        self.home = serving_bundles.Home(tmp_path / "made")
        self.digest = self.home.write_network(seed, project="plain-project")
        self.name = self.digest.removeprefix("sha256:")
        self.trust = signing.TrustedKeys.load(self.home.trusted)
        self.here = tmp_path / "here"
        self._bucket = bucket
        for path in (self.home.store.root / self.name).rglob("*"):
            if path.is_file():
                bucket.put(f"bundles/{path.relative_to(self.home.store.root)}", path.read_bytes())

    def put(self, name: str, content: bytes) -> None:
        self._bucket.put(f"bundles/{name}", content)

    def fetch(self) -> None:
        fetched.fetch(SOURCE, self.digest, self.here, self.trust)


@pytest.fixture
def shipped(
    bucket: integration_object_store.ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Shipped]:
    for name, value in bucket.options().items():
        monkeypatch.setenv(name.upper(), value)
    # A process has one store, whose clients it keeps; a run of tests has several on other ports.
    fetched.objects._store.cache_clear()
    yield Shipped(bucket, tmp_path, seed=len(request.node.name))
    fetched.objects._store.cache_clear()


def test_a_model_of_the_settings_comes_from_there(shipped: Shipped, tmp_path: Path) -> None:
    s = settings_in(
        tmp_path, bundle_source=SOURCE, bundle_dir=shipped.here, trusted_keys_dir=shipped.home.trusted
    ).serving
    loader = signed_bundles.SignedBundleLoader(
        bundle.BundleStore(shipped.here),
        shipped.home.trusted,
        chosen.runtimes(s),
        serving_bundles.derivations,
    )
    models = bundle_models.factories(f"ranker={shipped.digest}", assembly.loading(s, loader), max_rows=10)
    assert models["ranker"]().versions() == (shipped.digest,)
    assert [path.name for path in shipped.here.iterdir()] == [shipped.name], "and nothing beside it"
    shipped.put(f"{shipped.name}/card.md", b"# changed\n")
    assert models["ranker"]().versions() == (shipped.digest,), "what is here is not asked for again"


def test_one_that_was_changed_there_does_not_arrive(shipped: Shipped) -> None:
    shipped.put(f"{shipped.name}/card.md", b"# changed\n")
    with pytest.raises(errors.CorruptArtifact, match="damaged"):
        shipped.fetch()
    assert list(shipped.here.iterdir()) == []


def test_one_with_a_file_more_does_not_arrive(shipped: Shipped) -> None:
    shipped.put(f"{shipped.name}/more.py", b"x = 1\n")
    with pytest.raises(errors.CorruptArtifact):
        shipped.fetch()
    assert list(shipped.here.iterdir()) == []


@pytest.mark.parametrize("name", ["plan.json", bundle.SIGNATURE, bundle.MANIFEST])
def test_one_that_is_longer_there_is_not_brought(
    shipped: Shipped, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    brought, read = [], fetched.objects.read

    def told(found: fetched.objects.Object, options: Any, first: int, length: int) -> bytes:
        brought.append((found.key.rpartition("/")[2], length))
        return read(found, options, first, length)

    monkeypatch.setattr(fetched.objects, "read", told)
    shipped.put(f"{shipped.name}/{name}", b"x" * (bundle.UNLISTED_BYTES + 1))
    with pytest.raises(errors.CorruptArtifact, match=f"`{shipped.digest}/{name}` is damaged"):
        shipped.fetch()
    ((asked, length),) = brought
    assert asked == bundle.MANIFEST and length <= bundle.UNLISTED_BYTES
    assert list(shipped.here.iterdir()) == []


def test_one_of_a_signer_that_nobody_trusts_does_not_arrive(shipped: Shipped, tmp_path: Path) -> None:
    (tmp_path / "nobody").mkdir()
    with pytest.raises(errors.PolicyDenied):
        fetched.fetch(SOURCE, shipped.digest, shipped.here, signing.TrustedKeys.load(tmp_path / "nobody"))
    assert list(shipped.here.iterdir()) == []


def test_one_that_was_withdrawn_there_is_so_here(shipped: Shipped) -> None:
    mark = prediction.BundleWithdrawal(digest=shipped.digest, reason="a leak", by="ana@local", at=None)
    shipped.put(f"{withdrawn.FOLDER}/{shipped.name}.json", mark.model_dump_json().encode())
    with pytest.raises(errors.PolicyDenied, match="a leak"):
        shipped.fetch()
    assert not (shipped.here / shipped.name).exists()


def test_what_is_not_there_or_not_to_be_read_is_said(
    shipped: Shipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.NotFound, match=f"no bundle `sha256:{'0' * 64}` is below `{SOURCE}`"):
        fetched.fetch(SOURCE, "sha256:" + "0" * 64, shipped.here, shipped.trust)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other-secret")
    fetched.objects._store.cache_clear()
    with pytest.raises(errors.PermissionDenied):
        shipped.fetch()
    assert not shipped.here.exists()


@pytest.mark.parametrize("key", ["../beside", "/etc/passwd", ""])
def test_a_key_that_leads_out_of_the_bundle_is_refused(key: str) -> None:
    with pytest.raises(errors.CorruptArtifact, match="remove it from the store"):
        fetched._inside(key, "sha256:" + "0" * 64)
