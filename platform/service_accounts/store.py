"""Rows of service accounts and of their tokens. Of what is secret there is the SHA-256: it is 256 random bits, which nobody guesses."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import base, service_accounts
from mainspring.platform import database
from mainspring.platform.http import versions

#: By which a secret of ours is told from others, and found where it should not be; a token is by `identity.TOKEN_PREFIX`.
SECRET_PREFIX: Final = "mscs_"
_HASH_OF_NONE: Final = hashlib.sha256(b"").hexdigest()

_table = database.service_accounts
_tokens = database.service_account_tokens
_members = database.members
_ACCOUNT: Final = sa.select(_table, _members.c.roles).outerjoin(
    _members, (_members.c.project == _table.c.project) & (_members.c.actor == _table.c.actor)
)


def actor_of(project: str, name: str) -> str:
    return f"{identity.ACCOUNT}{project}:{name}"


def fresh(prefix: str) -> tuple[str, str]:
    """A secret, and what is kept of it."""
    made = prefix + secrets.token_urlsafe(32)
    return made, digest(made)


def digest(made: str) -> str:
    return hashlib.sha256(made.encode()).hexdigest()


def is_secret_of(row: sa.Row[Any] | None, given: str) -> bool:
    """Compares in constant time, whether or not there is such an account."""
    kept = _HASH_OF_NONE if row is None else row.secret_sha256
    return hmac.compare_digest(kept, digest(given)) and row is not None


async def find(connection: AsyncConnection, actor: str) -> sa.Row[Any] | None:
    return (await connection.execute(_ACCOUNT.where(_table.c.actor == actor))).one_or_none()


async def require(connection: AsyncConnection, project: str, name: str) -> sa.Row[Any]:
    """Errors: NotFound."""
    row = await find(connection, actor_of(project, name))
    if row is None:
        raise errors.NotFound(
            f"project `{project}` has no service account `{name[:80]}`; `mainspring service-account list {project}` has them",
            resource="service-account",
            name=name[:80],
        )
    return row


async def add(
    connection: AsyncConnection,
    project: str,
    wanted: service_accounts.ServiceAccountCreate,
    secret_sha256: str,
    by: str,
) -> None:
    now = base.utc_now().isoformat()
    await connection.execute(
        sa.insert(_table).values(
            actor=actor_of(project, wanted.name),
            project=project,
            name=wanted.name,
            owner=wanted.owner,
            description=wanted.description,
            secret_sha256=secret_sha256,
            created_at=now,
            created_by=by,
            rotated_at=now,
            last_used_on="",
        )
    )


async def change(connection: AsyncConnection, actor: str, **values: Any) -> None:
    await connection.execute(sa.update(_table).where(_table.c.actor == actor).values(**values))


async def remove(connection: AsyncConnection, actor: str) -> None:
    await end_tokens(connection, actor)
    await connection.execute(sa.delete(_table).where(_table.c.actor == actor))


async def page(connection: AsyncConnection, project: str, *, after: str, limit: int) -> Sequence[sa.Row[Any]]:
    """By name."""
    query = _ACCOUNT.where(_table.c.project == project, _table.c.name > after)
    return (await connection.execute(query.order_by(_table.c.name).limit(limit))).all()


async def add_token(
    connection: AsyncConnection, actor: str, token_sha256: str, scope: identity.Scope, expires_at: datetime
) -> None:
    await connection.execute(
        sa.insert(_tokens).values(
            token_sha256=token_sha256,
            actor=actor,
            roles=list(scope.roles),
            environment=scope.environment,
            expires_at=expires_at.isoformat(),
        )
    )


async def end_tokens(connection: AsyncConnection, actor: str, *, until: datetime | None = None) -> None:
    """All of them; of those that count, none, where it is `until` now."""
    mine = sa.delete(_tokens).where(_tokens.c.actor == actor)
    await connection.execute(mine if until is None else mine.where(_tokens.c.expires_at <= until.isoformat()))


async def counting(connection: AsyncConnection, actor: str) -> Sequence[str]:
    """Ends of the tokens there are, the first to end first."""
    query = sa.select(_tokens.c.expires_at).where(_tokens.c.actor == actor)
    return (await connection.execute(query.order_by(_tokens.c.expires_at))).scalars().all()


async def holder(connection: AsyncConnection, token: str, now: datetime) -> sa.Row[Any] | None:
    """Of a token that counts: its account is there, is not disabled, and has an owner who is a member."""
    owner = _members.alias("owner")
    query = (
        sa.select(_tokens, _table.c.project)
        .join(_table, _table.c.actor == _tokens.c.actor)
        .join(owner, (owner.c.project == _table.c.project) & (owner.c.actor == _table.c.owner))
        .where(
            _tokens.c.token_sha256 == digest(token),
            _tokens.c.expires_at > now.isoformat(),
            _table.c.disabled_at.is_(None),
        )
    )
    return (await connection.execute(query)).one_or_none()


async def is_in_force(connection: AsyncConnection, actor: str) -> bool:
    """It is there, is not disabled, and has an owner who is a member."""
    owner = _members.alias("owner")
    query = (
        sa.select(_table.c.actor)
        .join(owner, (owner.c.project == _table.c.project) & (owner.c.actor == _table.c.owner))
        .where(_table.c.actor == actor, _table.c.disabled_at.is_(None))
    )
    return (await connection.execute(query)).one_or_none() is not None


async def require_own(connection: AsyncConnection, project: str, actor: str) -> None:
    """A name of a service account has roles in its own project, and only while there is the account. Errors: InvalidRequest."""
    if not identity.is_account(actor):
        return
    row = await find(connection, actor)
    if row is None or row.project != project:
        raise errors.InvalidRequest(
            f"project `{project}` has no service account `{actor}`; make it by `mainspring service-account create {project}`",
            field="actor",
        )


def version(row: sa.Row[Any]) -> str:
    return versions.of(row.actor, row.owner, row.description, row.created_at, row.rotated_at, row.disabled_at)


def view(row: sa.Row[Any]) -> service_accounts.ServiceAccountView:
    kept = {**row._mapping, "roles": row.roles or {}, "disabled": row.disabled_at is not None}
    return service_accounts.ServiceAccountView.model_validate({**kept, "version": version(row)})
