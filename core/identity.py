"""The embedded issuer: development tokens in one file, clearly not for production.

`mainspring up` writes the file (mode 0600) with one random token per actor; every service on this machine reads it.
An OpenID provider replaces it in production; what the rest of the platform sees is an :class:`Actor` either way.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mainspring.core import errors, watched

ROLES: Final = ("viewer", "developer", "approver", "admin", "service")

#: How the names of the embedded issuer's actors end, and nobody else's.
LOCAL: Final = "@local"

#: Who the services of the embedded stack are to one another.
SERVICE: Final = "service@local"

#: The actors of a new embedded stack. Developer and approver differ, so that four eyes are possible from the start.
EMBEDDED_ACTORS: Final[Mapping[str, tuple[str, ...]]] = {
    "developer@local": ("developer",),
    "approver@local": ("approver",),
    SERVICE: ("service",),
    "admin@local": ("admin", "developer", "approver"),
}


#: How the names of service accounts begin, and nobody else's: `service-account:<project>:<name>`.
ACCOUNT: Final = "service-account:"

#: By which a service account's token is told from others, and found where it should not be.
TOKEN_PREFIX: Final = "msat_"


def is_account(name: str) -> bool:
    """However it is written: nobody comes near such a name."""
    return name.strip().lower().startswith(ACCOUNT)


def account_token(authorization: str | None) -> str:
    """The service account's token of an `Authorization: Bearer` header; "" for anything else."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith(TOKEN_PREFIX) else ""


@dataclass(frozen=True)
class Scope:
    """What a token has of its actor's roles as a member: those roles, in that environment; empty: all, in all."""

    roles: tuple[str, ...] = ()
    environment: str = ""


@dataclass(frozen=True)
class Actor:
    """Who acts: a name for the record and the roles that rules look at."""

    name: str
    roles: tuple[str, ...]
    scope: Scope = Scope()

    def require(self, *allowed: str) -> None:
        """PermissionDenied unless the actor has one of the roles; admins have every right but `service`."""
        if not any(role in allowed for role in self.roles) and not (
            "admin" in self.roles and "service" not in allowed
        ):
            raise errors.PermissionDenied(
                f"`{self.name}` has roles `{', '.join(self.roles)}`, this needs one of `{', '.join(allowed)}`; ask an"
                " admin of the project",
                actor=self.name,
                action="|".join(allowed),
            )


class Issuer(Protocol):
    """Tells who sends a request. `prepare` fetches what is needed, `authenticate` decides by what is there."""

    async def prepare(self, authorization: str | None) -> None:
        """Errors: DependencyDown."""
        ...

    def authenticate(self, authorization: str | None) -> Actor:
        """Errors: Unauthenticated."""
        ...


class TokenIssuer:
    """Has read the token file once. Immutable, thread-safe."""

    def __init__(self, tokens: Mapping[str, Actor]) -> None:
        self._tokens = dict(tokens)

    @classmethod
    def load(cls, path: Path) -> TokenIssuer:
        """Errors: MissingTool if there is no file, InvalidSettings if it is malformed."""
        try:
            return cls(_actors(path.read_bytes()))
        except FileNotFoundError as error:
            raise errors.MissingTool(
                f"no token file `{path.name}`; run `mainspring up`, which writes it",
                tool=path.name,
                fix="mainspring up",
            ) from error

    async def prepare(self, authorization: str | None) -> None:
        """Nothing: every token is known."""

    def authenticate(self, authorization: str | None) -> Actor:
        """The actor of an `Authorization: Bearer` header. Compares in constant time. Errors: Unauthenticated."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise errors.Unauthenticated("no bearer token; send `Authorization: Bearer <token>`")
        found: Actor | None = None
        for known, actor in self._known().items():
            if hmac.compare_digest(known.encode(), token.strip().encode()):
                found = actor
        if found is None:
            raise errors.Unauthenticated(
                "the bearer token is not known here; `mainspring up` prints where tokens are"
            )
        return found

    def token_of(self, actor: str) -> str:
        """The token of an embedded actor, for processes of the same machine. Of several the first. Errors: NotFound."""
        tokens = self._known()
        for token, known in tokens.items():
            if known.name == actor:
                return token
        raise errors.NotFound(
            f"no token for `{actor}`; known are {', '.join(f'`{a.name}`' for a in tokens.values())}",
            resource="token",
            name=actor,
        )

    def _known(self) -> Mapping[str, Actor]:
        return self._tokens


class FollowedTokens(TokenIssuer):
    """The token file as it is now: a change counts within a second, so that tokens rotate under processes that run for long.

    A file that cannot be read changes nothing, and the log says so; one that is gone knows nobody. Thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Errors: those of `load`."""
        super().__init__(TokenIssuer.load(path)._known())
        self._file: watched.Watched[Mapping[str, Actor]] = watched.Watched(path, _actors, {})

    def _known(self) -> Mapping[str, Actor]:
        return self._file.get()


def _actors(content: bytes) -> dict[str, Actor]:
    """Of each token, in the order of the file. Errors: InvalidSettings."""
    try:
        return {e["token"]: Actor(e["actor"], tuple(e["roles"])) for e in json.loads(content)["tokens"]}
    except (KeyError, TypeError, ValueError) as error:
        raise errors.InvalidSettings(
            f"the token file is malformed: {error!r}; remove it and run `mainspring up`",
            problems=("control.tokens_file",),
        ) from error


def ensure_token_file(path: Path, actors: Mapping[str, Sequence[str]] = EMBEDDED_ACTORS) -> TokenIssuer:
    """Write the file with fresh tokens if there is none, readable by its owner only, and load it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = [
            {"token": f"dev-{secrets.token_urlsafe(32)}", "actor": a, "roles": list(r)}
            for a, r in actors.items()
        ]
        text = json.dumps({"notice": "development tokens, not for production", "tokens": entries}, indent=1)
        descriptor = os.open(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as f:
            f.write(text)
        path.with_suffix(".new").rename(path)
    return TokenIssuer.load(path)
