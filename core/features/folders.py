"""Folders of data that are complete or absent: written aside, listed with digests, renamed into place."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mainspring.core import canonical, errors

__all__ = ["MANIFEST", "REGISTRY", "Folder", "code", "digest_of", "edit", "is_published", "publish", "read"]

MANIFEST: Final = "manifest.json"

#: The Feast registry in a feature folder; its name is here so that a folder can be reused without importing Feast.
REGISTRY: Final = "registry.db"
_VERSION: Final = 1


@dataclass(frozen=True)
class Folder:
    """A complete folder. `digest` names its kind, its inputs and the bytes of its files; `detail` is its maker's."""

    path: Path
    kind: str
    inputs: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    detail: Mapping[str, Any]
    digest: str
    reused: bool = False

    def file_digest(self, relative: str) -> str:
        """The digest of one of its files, or of all files under a sub-folder."""
        if relative in self.files:
            return str(self.files[relative]["digest"])
        inside = [
            [name, f["digest"]] for name, f in sorted(self.files.items()) if name.startswith(f"{relative}/")
        ]
        if not inside:
            raise errors.NotFound(
                f"folder `{self.path}` has no `{relative}`; make it again", resource="file", name=relative
            )
        return canonical.digest(inside)

    def files_under(self, relative: str) -> tuple[int, int]:
        """How many files lie under a sub-folder, and their bytes."""
        sizes = [int(f["bytes"]) for name, f in self.files.items() if name.startswith(f"{relative}/")]
        return len(sizes), sum(sizes)


def publish(
    target: Path,
    *,
    kind: str,
    inputs: Mapping[str, Any],
    write: Callable[[Path], Mapping[str, Any]],
    unlisted: frozenset[str] = frozenset(),
) -> Folder:
    """The folder `target` of `kind` made from `inputs` (JSON): as it stands, if intact, else made by `write`.

    `write` gets an empty folder and returns the detail (JSON); when it raises, nothing of its work is left. Names
    in `unlisted` are kept but not in the digest (databases, whose bytes differ from run to run).
    Errors:  Conflict if `target` holds something that is not a folder of this kind; what `write` raises.
    Threads: safe, against other processes too: of makers of the same inputs the first to finish wins, and the others
             take what it made. A reader may find nothing for the instant in which another folder is replaced.
    """
    found = _intact(target, kind, inputs)
    if found is not None:
        return found
    _check_replaceable(target, kind)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _beside(target, "new") as new:
        new.mkdir()
        detail = write(new)
        files = _list(new, unlisted)
        manifest = {
            "version": _VERSION,
            "kind": kind,
            "inputs": dict(inputs),
            "files": files,
            "detail": dict(detail),
        }
        # Strict JSON in and out, so that what is returned now is what `read` returns later.
        manifest = json.loads(canonical.dumps(manifest))
        _write_synced(new / MANIFEST, canonical.dumps(manifest))
        return _swap(new, target, manifest)


def read(target: Path, *, kind: str) -> Folder:
    """The folder `target`, checked to the last byte.

    Errors: NotFound if there is none; CorruptArtifact if it is not what its manifest says.
    """
    try:
        manifest = json.loads((target / MANIFEST).read_bytes())
        found_kind, version = manifest["kind"], manifest["version"]
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"no complete {kind} in `{target}`; run the step that makes it", resource=kind, name=str(target)
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(target / MANIFEST, "a manifest", str(error)) from error
    if (found_kind, version) != (kind, _VERSION):
        raise _corrupt(
            target / MANIFEST, f"{kind}, manifest version {_VERSION}", f"{found_kind}, version {version}"
        )
    for name, entry in manifest["files"].items():
        try:
            got = canonical.digest_file(target / name)
        except OSError as error:
            raise _corrupt(target / name, entry["digest"], str(error)) from error
        if got != entry["digest"]:
            raise _corrupt(target / name, entry["digest"], got)
    return _folder(target, manifest, reused=True)


def is_published(target: Path) -> bool:
    """Is it one that :func:`publish` made, of whatever kind, by its manifest alone."""
    try:
        _manifest_of(target)
    except errors.CorruptArtifact:
        return False
    return True


def digest_of(target: Path) -> str:
    """As `Folder.digest`, by the manifest alone: no file is read. Errors: CorruptArtifact."""
    return _folder(target, _manifest_of(target), reused=True).digest


def edit(target: Path, change: Callable[[Path], int]) -> int:
    """Let `change` replace files of a published folder, all of it or nothing; what it answers.

    It gets a copy (hard links) and replaces files there by renames: a file that it wrote into would change in both. It must
    neither add nor remove one. If it answers 0 the folder stays as it is. Else the copy takes its place with the digests of
    what is in it now: its kind and inputs stay, so it is reused as before, and its `digest` is another one. What its maker
    counted (`detail`) is not counted again.
    Errors: CorruptArtifact for a manifest that cannot be read; what `change` raises, and then nothing has changed.
    Threads: as for :func:`publish`.
    """
    manifest = dict(_manifest_of(target))
    with _beside(target, "new") as new, _beside(target, "old") as old:
        shutil.copytree(target, new, copy_function=os.link, symlinks=True)
        made = change(new)
        if not made:
            return made
        files = dict(manifest["files"])
        for name in files:
            path = new / name
            if not path.samefile(target / name):
                files[name] = {"bytes": path.stat().st_size, "digest": canonical.digest_file(path)}
        # Not written into: the copy shares its bytes.
        (new / MANIFEST).unlink()
        _write_synced(new / MANIFEST, canonical.dumps(manifest | {"files": files}))
        with _locked(target.parent):
            if _manifest_of(target) != manifest:
                raise errors.Conflict(
                    f"`{target}` was made again while it was edited; edit it once more",
                    resource="folder",
                    name=str(target),
                )
            os.rename(target, old)
            os.rename(new, target)
        return made


def code(*files: str) -> str:
    """The digest of source files: an input of whatever they compute, so that a changed rule is computed anew.

    By path (`module.__file__`, or a neighbour of it), so that a module need not be imported to be named.
    """
    return canonical.digest([[Path(f).name, canonical.digest_file(Path(f))] for f in files])


def _folder(path: Path, manifest: Mapping[str, Any], *, reused: bool) -> Folder:
    named = {key: manifest[key] for key in ("kind", "inputs", "files")}
    return Folder(
        path=path,
        kind=manifest["kind"],
        inputs=manifest["inputs"],
        files=manifest["files"],
        detail=manifest["detail"],
        digest=canonical.digest(named),
        reused=reused,
    )


def _intact(target: Path, kind: str, inputs: Mapping[str, Any]) -> Folder | None:
    try:
        found = read(target, kind=kind)
    except (errors.NotFound, errors.CorruptArtifact):
        return None
    return found if canonical.dumps(dict(found.inputs)) == canonical.dumps(dict(inputs)) else None


def _check_replaceable(target: Path, kind: str) -> None:
    # A damaged or outdated folder of ours may be replaced; somebody's home directory may not.
    if not target.exists():
        return
    if not target.is_dir() or (any(target.iterdir()) and _kind_of(target) != kind):
        raise errors.Conflict(
            f"`{target}` exists and is no {kind}; choose another folder or move it away",
            resource="folder",
            name=str(target),
        )


def _manifest_of(target: Path) -> Mapping[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((target / MANIFEST).read_bytes())
        if manifest["version"] != _VERSION or not {"kind", "inputs", "files", "detail"} <= set(manifest):
            raise ValueError("of another version")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(target / MANIFEST, f"a manifest, version {_VERSION}", str(error)) from error
    return manifest


def _kind_of(target: Path) -> str:
    try:
        return str(json.loads((target / MANIFEST).read_bytes())["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _list(folder: Path, unlisted: frozenset[str]) -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        with path.open("rb") as f:
            os.fsync(f.fileno())
        if name not in unlisted:
            files[name] = {"bytes": path.stat().st_size, "digest": canonical.digest_file(path)}
    return files


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def _swap(new: Path, target: Path, manifest: Mapping[str, Any]) -> Folder:
    with _locked(target.parent), _beside(target, "old") as old:
        # While this one worked, another maker may have finished: what it made of the same inputs stays.
        found = _intact(target, manifest["kind"], manifest["inputs"])
        if found is not None:
            return found
        _check_replaceable(target, manifest["kind"])
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, old)
        os.rename(new, target)
    return _folder(target, manifest, reused=False)


@contextlib.contextmanager
def _locked(parent: Path) -> Iterator[None]:
    """Alone among all makers below `parent`, in this process and others, and its entries on disk at the end."""
    fd = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _beside(target: Path, what: str) -> Iterator[Path]:
    path = target.with_name(f".{target.name}.{what}-{secrets.token_hex(6)}")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _corrupt(path: Path, expected: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"`{path}` is damaged: expected {expected}, got {got}; remove its folder and run the step that makes it",
        artifact=str(path),
        expected=expected,
        got=got,
    )
