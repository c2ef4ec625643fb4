"""A sign-in that is kept: a file of the user's own for each control API, renewed before its token expires."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mainspring.core import durable, errors
from mainspring.platform.login import provider

__all__ = ["Credential", "Saved", "held", "load", "path_of", "remove", "save"]

#: A token that expires so soon is renewed first: a request is under way for a while, and clocks differ.
EARLY_SECONDS: Final = 60.0
#: How long another process may take to renew the same sign-in.
_LOCK_SECONDS: Final = 20.0


class Saved(BaseModel):
    """Who signed in where. Its tokens are in no repr."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    control_url: str
    issuer: str
    client_id: str
    audience: str
    scopes: str
    subject: str
    expires_at: float
    access_token: str = Field(repr=False)
    refresh_token: str = Field(default="", repr=False)

    @classmethod
    def of(cls, control_url: str, client: provider.Client, tokens: provider.Tokens) -> Saved:
        return cls(
            control_url=control_url,
            issuer=client.issuer,
            client_id=client.client_id,
            audience=client.audience,
            scopes=client.scopes,
            subject=tokens.subject,
            expires_at=tokens.expires_at,
            access_token=tokens.access,
            refresh_token=tokens.refresh,
        )

    @property
    def client(self) -> provider.Client:
        return provider.Client(self.issuer, self.client_id, self.audience, self.scopes)

    def with_tokens(self, fresh: provider.Tokens) -> Saved:
        changed = {
            "access_token": fresh.access,
            "refresh_token": fresh.refresh,
            "expires_at": fresh.expires_at,
        }
        return self.model_copy(update=changed)


def path_of(folder: Path, control_url: str) -> Path:
    """Of one control API: the address has signs that a file's name must not have."""
    return folder / f"{hashlib.sha256(control_url.encode()).hexdigest()[:16]}.json"


def load(path: Path, control_url: str) -> Saved | None:
    """None where nobody signed in. Errors: Misconfigured for a file that others can read, or that is no sign-in of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if stat.S_IMODE(state.st_mode) & 0o077 or state.st_uid != os.getuid():
            raise _unusable(path, "can be read or written by others, who may have the sign-in")
        content = file.read(1 << 20)
    try:
        found = Saved.model_validate_json(content)
    except ValidationError as error:
        raise _unusable(path, "is no sign-in of this version's") from error
    if found.control_url != control_url:
        raise _unusable(path, f"is a sign-in at `{found.control_url}`")
    return found


def save(path: Path, signed_in: Saved) -> None:
    """Whole or not at all, for its owner alone. Errors: Misconfigured."""
    try:
        durable.put_file(path, signed_in.model_dump_json(indent=1).encode(), is_secret=True)
    except OSError as error:
        raise errors.Misconfigured(
            f"the sign-in cannot be kept in `{path}`: {error.strerror}; make room or mend the folder's rights, then run"
            " `mainspring login`"
        ) from error


def remove(path: Path) -> bool:
    """False where there was none."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


class Credential:
    """The token of a kept sign-in, as :class:`core.client.ControlClient` asks for one at each request.

    Renewed silently, by one process at a time: a provider takes a refresh token once, and takes a second use for a theft.
    Thread-safe.
    """

    def __init__(
        self,
        path: Path,
        signed_in: Saved,
        *,
        provider_of: Callable[[provider.Client], provider.Provider] = provider.Provider,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._known, self._provider_of, self._clock = path, signed_in, provider_of, clock
        self._lock = threading.Lock()

    @property
    def expires_at(self) -> float:
        """When the token of the last look expires; it is renewed before."""
        return self._known.expires_at

    @property
    def renews(self) -> bool:
        return bool(self._known.refresh_token)

    def __call__(self) -> str:
        """Errors: Unauthenticated where the sign-in is over; DependencyDown where it cannot be renewed and has expired."""
        with self._lock:
            if not self._is_old(self._known):
                return self._known.access_token
            if not self._known.refresh_token:
                return self._as_it_is()
            with held(self._path):
                self._known = load(self._path, self._known.control_url) or self._signed_out()
                if self._is_old(self._known):
                    self._renew()
            return self._known.access_token

    def _renew(self) -> None:
        known = self._known
        if not known.refresh_token:
            self._as_it_is()  # somebody signed in meanwhile, for as long as one token
            return
        try:
            fresh = self._provider_of(known.client).renew(known.refresh_token, known.subject)
        except errors.DependencyDown:
            if known.expires_at <= self._clock():
                raise
            return  # it counts for a little while yet
        self._known = known.with_tokens(fresh)
        save(self._path, self._known)

    def _as_it_is(self) -> str:
        if self._known.expires_at <= self._clock():
            raise errors.Unauthenticated(
                f"the sign-in at `{self._known.issuer}` has expired, and cannot be renewed; run `mainspring login`"
            )
        return self._known.access_token

    def _is_old(self, known: Saved) -> bool:
        return known.expires_at - EARLY_SECONDS <= self._clock()

    def _signed_out(self) -> Saved:
        raise errors.Unauthenticated("you signed out meanwhile; run `mainspring login`")


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """The right to change what is kept beside `path`: one process at a time. Errors: Overloaded."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for _ in range(int(_LOCK_SECONDS / 0.05)):
        try:
            lock = durable.hold_folder(path.parent)
            break
        except BlockingIOError:
            time.sleep(0.05)
    else:
        raise errors.Overloaded(
            "another process of yours is changing the sign-in; try again in 5 s", retry_after_seconds=5.0
        )
    try:
        yield
    finally:
        os.close(lock)


def _unusable(path: Path, why: str) -> errors.Misconfigured:
    return errors.Misconfigured(f"the sign-in in `{path}` {why}; remove it, then run `mainspring login`")
