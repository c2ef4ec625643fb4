"""Signed bundles of an object store, brought to a local store before they are used: `<source><64 hex>/<file>`.

What arrives is verified beside the store and appears in it whole, so that whoever opens bundles there never meets half of one, nor one that
was changed on its way.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from mainspring.core import durable, errors
from mainspring.core.features import objects
from mainspring.core.models import bundle, signing, withdrawn

__all__ = ["fetch"]

#: An endpoint without TLS is the operator's choice (`AWS_ENDPOINT_URL`): whatever comes is verified. The client looks for it here only.
_OPTIONS: Final = {"aws_allow_http": "true"}


def fetch(source: str, digest: str, root: Path, trust: signing.TrustedKeys) -> None:
    """Have the bundle in `root`, from below `source` (`s3://bucket/folder/`) if it is not there. Credentials are the process's.

    Errors: NotFound for a bundle that is not below `source`; those of the store (`objects.below`); CorruptArtifact and PolicyDenied as
    :meth:`bundle.BundleStore.open`, and then `root` is as it was.
    Threads and processes: of several that fetch the same, each verifies its own; one is kept.
    """
    name = digest.removeprefix("sha256:")
    if (root / name).exists():
        return
    folder = f"{source.rstrip('/')}/{name}/"
    found = objects.below(folder, _OPTIONS)
    if not found:
        raise errors.NotFound(
            f"no bundle `{digest}` is below `{source}`; copy its folder there, `{name}/`",
            resource="bundle",
            name=digest,
        )
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=root) as made:
        beside = Path(made)
        named = {str(_inside(one.uri.removeprefix(folder), digest)): one for one in found}
        _check(digest, named)
        for key, one in named.items():
            path = beside / name / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(objects.read(one, _OPTIONS, 0, one.bytes) if one.bytes else b"")
        _bring_mark(source, digest, root)
        withdrawn.check(root, digest)
        bundle.BundleStore(beside).open(digest, trust)
        try:
            (beside / name).rename(root / name)
        except OSError:
            # Another process was faster; it has verified the same contents.
            if not (root / name).exists():
                raise
            shutil.rmtree(beside / name, ignore_errors=True)
    durable.sync_folder(root)


def _check(digest: str, named: Mapping[str, objects.Object]) -> None:
    """Nothing is brought that is not of the bundle, or longer: its name is the digest of what lists its files. Errors: CorruptArtifact."""
    manifest = named.get(bundle.MANIFEST)
    whole = (
        b""
        if manifest is None
        else objects.read(manifest, _OPTIONS, 0, min(manifest.bytes, bundle.UNLISTED_BYTES))
    )
    bundle.check_listing(digest, whole, {key: one.bytes for key, one in named.items()})


def _inside(key: str, digest: str) -> PurePosixPath:
    """The file's path in the bundle. Errors: CorruptArtifact for one that would lead out of it."""
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise errors.CorruptArtifact(
            f"an object of bundle `{digest}` is called `{key}`; remove it from the store",
            artifact=digest,
            expected="files of the bundle",
            got=key,
        )
    return path


def _bring_mark(source: str, digest: str, root: Path) -> None:
    """That the bundle was withdrawn, if its mark lies beside it there as it does in a store of files."""
    mark = f"{withdrawn.FOLDER}/{digest.removeprefix('sha256:')}.json"
    with contextlib.suppress(errors.NotFound):
        content = objects.whole(f"{source.rstrip('/')}/{mark}", _OPTIONS)
        path = root / mark
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_file(path, content)
