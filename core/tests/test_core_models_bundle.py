"""A bundle is what its digest says and what a trusted key signed, or it does not open."""

import dataclasses
import pickle
import shutil
import stat
from pathlib import Path

import pytest
from bundle_contents import CONTENTS, METRICS, SERVICE

from mainspring.core import canonical, errors
from mainspring.core.models import bundle, manifest, signing


@pytest.fixture
def key(tmp_path: Path) -> signing.SigningKey:
    return signing.ensure_key(tmp_path / "keys" / "signer.pem")


@pytest.fixture
def trust(tmp_path: Path, key: signing.SigningKey) -> signing.TrustedKeys:
    key.publish(tmp_path / "trusted")
    (tmp_path / "trusted" / "builders.txt").write_text("library\nunattested\n")
    return signing.TrustedKeys.load(tmp_path / "trusted")


@pytest.fixture
def store(tmp_path: Path) -> bundle.BundleStore:
    return bundle.BundleStore(tmp_path / "bundles")


@pytest.fixture
def written(store: bundle.BundleStore, key: signing.SigningKey) -> bundle.Bundle:
    return store.write(CONTENTS, key)


def files_of(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file())


def test_round_trip(
    store: bundle.BundleStore, written: bundle.Bundle, trust: signing.TrustedKeys, key: signing.SigningKey
) -> None:
    opened = store.open(written.digest, trust)
    assert opened == written
    assert store.list() == (written.digest,)
    assert opened.path.name == written.digest.removeprefix("sha256:")
    assert canonical.digest_file(opened.path / "manifest.json") == opened.digest
    assert opened.signer == key.key_id
    assert opened.plan == CONTENTS.plan
    assert opened.model == CONTENTS.model
    assert opened.weights == CONTENTS.weights
    assert opened.read("card.md") == b"# Flight delay\n"
    assert opened.read("sbom/bundle.json") == b"{}"
    assert opened.manifest.service == SERVICE
    assert opened.manifest.metrics == {"test": METRICS}
    assert opened.manifest.plan_digest == canonical.digest_bytes(CONTENTS.plan)


def test_same_contents_again_touch_nothing(
    store: bundle.BundleStore, written: bundle.Bundle, key: signing.SigningKey
) -> None:
    before = {p: p.stat().st_mtime_ns for p in files_of(store.root)}
    assert store.write(CONTENTS, key) == written
    assert {p: p.stat().st_mtime_ns for p in files_of(store.root)} == before
    assert [p.name for p in store.root.iterdir()] == [written.path.name]


@pytest.mark.parametrize(
    "change",
    [
        {"weights": b"other"},
        {"card": "other"},
        {"training_run_id": "run_2"},
        {"extra_files": {}},
        {"model": {"dense": 2}},
    ],
)
def test_other_contents_have_another_name(
    store: bundle.BundleStore, written: bundle.Bundle, key: signing.SigningKey, change: dict[str, object]
) -> None:
    other = store.write(dataclasses.replace(CONTENTS, **change), key)
    assert other.digest != written.digest
    assert store.list() == tuple(sorted((written.digest, other.digest)))


def test_any_flipped_byte_of_any_file_is_refused(
    store: bundle.BundleStore, written: bundle.Bundle, trust: signing.TrustedKeys
) -> None:
    flips = 0
    for path in files_of(written.path):
        good = path.read_bytes()
        path.chmod(0o644)
        # Of what is long, and sealed as one, every 17th.
        for i in range(0, len(good), 1 if len(good) < 1000 else 17):
            for bit in (0x01, 0x20):
                path.write_bytes(good[:i] + bytes([good[i] ^ bit]) + good[i + 1 :])
                with pytest.raises((errors.CorruptArtifact, errors.PolicyDenied)):
                    store.open(written.digest, trust)
                flips += 1
        path.write_bytes(good)
    assert flips > 1000
    assert store.open(written.digest, trust) == written


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "signature.json",
        "provenance.intoto.json",
        "model.sig",
        *manifest.required("embedding_mlp"),
        "sbom/bundle.json",
    ],
)
def test_removed_renamed_truncated_or_linked_file_is_refused(
    store: bundle.BundleStore, written: bundle.Bundle, trust: signing.TrustedKeys, tmp_path: Path, name: str
) -> None:
    path = written.path / name
    elsewhere = tmp_path / "elsewhere"
    good = path.read_bytes()
    path.rename(elsewhere)
    with pytest.raises(errors.CorruptArtifact):
        store.open(written.digest, trust)
    path.symlink_to(elsewhere)
    with pytest.raises(errors.CorruptArtifact, match="link"):
        store.open(written.digest, trust)
    path.unlink()
    path.with_name("renamed").write_bytes(good)
    with pytest.raises(errors.CorruptArtifact):
        store.open(written.digest, trust)
    path.with_name("renamed").unlink()
    path.write_bytes(good[:-1])
    with pytest.raises(errors.CorruptArtifact):
        store.open(written.digest, trust)


def test_extra_file_empty_folder_and_linked_bundle_are_refused(
    store: bundle.BundleStore, written: bundle.Bundle, trust: signing.TrustedKeys, tmp_path: Path
) -> None:
    extra = written.path / "extra.txt"
    extra.write_text("x")
    with pytest.raises(errors.CorruptArtifact, match="extra.txt"):
        store.open(written.digest, trust)
    extra.unlink()
    (written.path / "empty").mkdir()
    with pytest.raises(errors.CorruptArtifact, match="empty folder"):
        store.open(written.digest, trust)
    (written.path / "empty").rmdir()
    moved = tmp_path / "moved"
    written.path.rename(moved)
    written.path.symlink_to(moved)
    with pytest.raises(errors.CorruptArtifact, match="a link"):
        store.open(written.digest, trust)


def test_change_after_open_is_caught_when_read(
    store: bundle.BundleStore, written: bundle.Bundle, trust: signing.TrustedKeys
) -> None:
    opened = store.open(written.digest, trust)
    weights = opened.path / "weights.safetensors"
    assert stat.S_IMODE(weights.stat().st_mode) == 0o444
    weights.chmod(0o644)
    weights.write_bytes(b"\x00weightz\xff")
    with pytest.raises(errors.CorruptArtifact, match="weights"):
        _ = opened.weights


def test_signature_of_another_bundle_or_key_is_refused(
    store: bundle.BundleStore,
    written: bundle.Bundle,
    trust: signing.TrustedKeys,
    key: signing.SigningKey,
    tmp_path: Path,
) -> None:
    other = store.write(dataclasses.replace(CONTENTS, card="other"), key)
    path = written.path / "signature.json"
    path.unlink()
    shutil.copy(other.path / "signature.json", path)
    with pytest.raises(errors.CorruptArtifact, match="does not verify"):
        store.open(written.digest, trust)
    stranger = signing.ensure_key(tmp_path / "keys" / "stranger.pem")
    path.unlink()
    path.write_bytes(stranger.sign(written.digest).to_bytes())
    with pytest.raises(errors.PolicyDenied, match="trusted keys") as denied:
        store.open(written.digest, trust)
    assert denied.value.cause == stranger.key_id
    # The stranger's signature under a trusted key's id.
    path.write_bytes(signing.Signature(key.key_id, stranger.sign(written.digest).value).to_bytes())
    with pytest.raises(errors.CorruptArtifact, match="does not verify"):
        store.open(written.digest, trust)


def test_nobody_is_trusted_without_keys(
    store: bundle.BundleStore, written: bundle.Bundle, tmp_path: Path
) -> None:
    with pytest.raises(errors.PolicyDenied, match="0 trusted keys"):
        store.open(written.digest, signing.TrustedKeys.load(tmp_path / "none"))


def test_same_contents_by_another_key_conflict(
    store: bundle.BundleStore, written: bundle.Bundle, tmp_path: Path
) -> None:
    with pytest.raises(errors.Conflict, match="already signed"):
        store.write(CONTENTS, signing.ensure_key(tmp_path / "keys" / "other.pem"))


def test_half_written_bundle_is_invisible(
    store: bundle.BundleStore, key: signing.SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(self: Path, target: Path) -> Path:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        # A kill leaves the folder, so the tidy-up must not run either.
        patch.setattr(shutil, "rmtree", lambda *a, **k: None)
        with pytest.raises(Killed):
            store.write(CONTENTS, key)
    assert len(list(store.root.iterdir())) == 1
    assert store.list() == ()
    written = store.write(CONTENTS, key)
    assert store.list() == (written.digest,)


def test_absent_bundle_names_the_close_one(
    store: bundle.BundleStore, written: bundle.Bundle, trust: signing.TrustedKeys
) -> None:
    last = "0" if written.digest[-1] != "0" else "1"
    with pytest.raises(errors.NotFound) as missing:
        store.open(written.digest[:-1] + last, trust)
    assert missing.value.did_you_mean == (written.digest,)
    with pytest.raises(errors.NotFound, match="did you mean `plan.json`"):
        written.read("plan.jso")


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc", "0" * 64, "sha256:" + "G" * 64])
def test_malformed_digest_is_refused(
    store: bundle.BundleStore, trust: signing.TrustedKeys, digest: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match="64 hex"):
        store.open(digest, trust)


@pytest.mark.parametrize(
    "path",
    [
        *("../escape", "/abs", "a/../b", "", "a//b", ".hidden", "plan.json", "manifest.json"),
        *("signature.json", "provenance.intoto.json", "model.sig"),
    ],
)
def test_extra_file_cannot_leave_the_bundle_or_replace_a_part(
    store: bundle.BundleStore, key: signing.SigningKey, path: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match="extra file"):
        store.write(dataclasses.replace(CONTENTS, extra_files={path: b"x"}), key)
    assert store.list() == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"plan": b'{"a": 1}'}, "plan"),
        ({"plan": b"not json"}, "plan"),
        ({"name": "Not A Slug"}, "name"),
        ({"data_digest": "md5:0"}, "data_digest"),
        ({"metrics": {"test": METRICS.model_copy(update={"auc": float("nan")})}}, ""),
    ],
)
def test_malformed_contents_are_refused(
    store: bundle.BundleStore, key: signing.SigningKey, change: dict[str, object], field: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        store.write(dataclasses.replace(CONTENTS, **change), key)
    assert refused.value.field == field
    assert store.list() == ()


def signed(
    store: bundle.BundleStore, written: bundle.Bundle, key: signing.SigningKey, **change: object
) -> str:
    """A bundle with a wrong manifest and a right signature: only the reader's own checks stand."""
    data = canonical.dumps({**written.manifest.model_dump(mode="json"), **change})
    digest = canonical.digest_bytes(data)
    path = store.root / digest.removeprefix("sha256:")
    shutil.copytree(written.path, path)
    # As a bundle without provenance: it would be of the manifest that this one was copied from.
    (path / "provenance.intoto.json").unlink()
    (path / "model.sig").unlink()
    for name, content in (("manifest.json", data), ("signature.json", key.sign(digest).to_bytes())):
        (path / name).unlink()
        (path / name).write_bytes(content)
    return digest


def test_signed_manifest_of_another_form_is_refused(
    store: bundle.BundleStore, written: bundle.Bundle, key: signing.SigningKey, trust: signing.TrustedKeys
) -> None:
    files = written.manifest.model_dump(mode="json")["files"]
    outside = {**files, "../outside": files["card.md"]}
    fewer = {k: v for k, v in files.items() if k != "weights.safetensors"}
    for change, words in (
        ({"schema_version": 2}, "schema version 1"),
        ({"kind": "pickle"}, "schema version 1"),
        ({"files": outside}, "outside"),
        ({"files": fewer}, "weights"),
        ({"plan_digest": canonical.digest("x")}, "plan.json"),
    ):
        with pytest.raises(errors.CorruptArtifact, match=words):
            store.open(signed(store, written, key, **change), trust)
    # The control: the same construction with nothing wrong opens.
    assert store.open(signed(store, written, key, code_version="9"), trust).manifest.code_version == "9"


@pytest.mark.parametrize("kind", [kind for kind, name in manifest.LEARNED.items() if name])
def test_each_kind_has_a_file_of_its_own(
    store: bundle.BundleStore, key: signing.SigningKey, trust: signing.TrustedKeys, kind: manifest.Kind
) -> None:
    written = store.write(dataclasses.replace(CONTENTS, kind=kind), key)
    opened = store.open(written.digest, trust)
    assert opened.manifest.kind == kind
    assert opened.weights == opened.read(manifest.LEARNED[kind]) == CONTENTS.weights
    files = opened.manifest.model_dump(mode="json")["files"]
    fewer = {k: v for k, v in files.items() if k != manifest.LEARNED[kind]}
    with pytest.raises(errors.CorruptArtifact, match=manifest.LEARNED[kind]):
        store.open(signed(store, written, key, files=fewer), trust)


def test_a_kind_there_is_not(store: bundle.BundleStore, key: signing.SigningKey) -> None:
    with pytest.raises(
        errors.InvalidRequest, match="no bundle is of kind `pickle`; kinds are `embedding_mlp`"
    ):
        store.write(dataclasses.replace(CONTENTS, kind="pickle"), key)  # type: ignore[arg-type]


def test_a_pickle_is_refused_when_written_and_when_opened(
    store: bundle.BundleStore, key: signing.SigningKey, trust: signing.TrustedKeys
) -> None:
    evil = pickle.dumps(print)
    for change in ({"weights": evil}, {"extra_files": {"sbom/bundle.json": evil}}):
        with pytest.raises(errors.InvalidRequest, match="is a pickle, which runs code"):
            store.write(dataclasses.replace(CONTENTS, **change), key)
    assert store.list() == ()
    # Signed by a trusted producer that does not look.
    written = store.write(CONTENTS, key)
    files = written.manifest.model_dump(mode="json")["files"]
    files["card.md"] = {"bytes": len(evil), "digest": canonical.digest_bytes(evil)}
    digest = signed(store, written, key, files=files)
    card = store.root / digest.removeprefix("sha256:") / "card.md"
    card.chmod(0o644)
    card.write_bytes(evil)
    with pytest.raises(errors.CorruptArtifact, match=r"card.md.*no pickle"):
        store.open(digest, trust)
