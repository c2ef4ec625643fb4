"""A commit of a repository, and its files: what is applied has a name that cannot move."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainspring.core import errors

__all__ = ["Checkout", "fetch", "here"]

_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Checkout:
    """`commit` is the full name of what `folder` has; empty where something there is not committed.

    `signer`: whose signature it has, as the keys that git is told of say (`gpg.ssh.allowedSignersFile`); empty: nobody's
    that counts.
    """

    folder: Path
    commit: str
    is_signed: bool
    signer: str = ""

    def require(self, *, signed: bool) -> None:
        """Errors: Conflict for what is not committed; PermissionDenied for a commit whose signature does not count."""
        if not self.commit:
            raise errors.Conflict(
                f"`{self.folder}` has changes that are not committed; commit them, so that what is applied has a name",
                resource="checkout",
                name=str(self.folder),
            )
        if signed and not self.is_signed:
            raise errors.PermissionDenied(
                f"commit `{self.commit}` has no signature that git accepts here; sign it with a key that git knows",
                actor=self.commit,
                action="gitops.apply",
            )


def here(folder: Path) -> Checkout:
    """A checkout as it lies. Errors: InvalidRequest if it is none; MissingTool without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    is_clean = not _git(folder, "status", "--porcelain", "--untracked-files=all", "--", ".")
    return _checkout(folder, commit, is_clean=is_clean)


def fetch(repository: str, branch: str, into: Path) -> Checkout:
    """The newest commit of a branch of a repository, local or remote, in a folder that is ours.

    Errors: DependencyDown if it cannot be fetched; InvalidRequest for a name that could be taken for an option.
    """
    for name in (repository, branch):
        if not name or name.startswith("-"):
            raise errors.InvalidRequest(f"`{name}` is no repository or branch", field="repository")
    if not (into / ".git").exists():
        into.mkdir(parents=True, exist_ok=True)
        _git(into, "init", "--quiet")
    try:
        _git(into, "fetch", "--quiet", "--no-tags", "--depth=1", "--", repository, f"refs/heads/{branch}")
    except errors.InvalidRequest as error:
        raise errors.DependencyDown(f"git could not fetch: {error.message}", name="git") from error
    commit = _git(into, "rev-parse", "FETCH_HEAD")
    _git(into, "checkout", "--quiet", "--force", "--detach", commit)
    _git(into, "clean", "--quiet", "-d", "--force", "-x")
    return _checkout(into, commit, is_clean=True)


def _checkout(folder: Path, commit: str, *, is_clean: bool) -> Checkout:
    is_signed = _is_signed(folder, commit)
    # The name that is beside the key in the file of signers, and not what the commit says of its author.
    signer = _git(folder, "log", "-1", "--format=%GS", commit) if is_signed else ""
    return Checkout(folder, commit if is_clean else "", is_signed, signer)


def _is_signed(folder: Path, commit: str) -> bool:
    try:
        _git(folder, "verify-commit", commit)
    except errors.InvalidRequest:
        return False
    return True


def _git(folder: Path, *words: str) -> str:
    # Hooks and file system watchers of a repository are its own code: none of it runs here.
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", *words]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise errors.MissingTool(
            "`git` is not installed; apt-get install git", tool="git", fix="apt-get install git"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise errors.DependencyDown(
            f"`git {words[0]}` took more than {_SECONDS:.0f} s", name="git"
        ) from error
    if done.returncode:
        said = " ".join(done.stderr.split())[:300] or f"exit code {done.returncode}"
        raise errors.InvalidRequest(f"`git {words[0]}` in `{folder}`: {said}", field="repository")
    return done.stdout.strip()
