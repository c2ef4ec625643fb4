"""`ETag` and `If-Match`: a change is made of the resource that its caller looked at, or not at all."""

from __future__ import annotations

from typing import Final, TypeVar

from litestar import Response

from mainspring.core import canonical, errors

T = TypeVar("T")

_DIGITS: Final = 32


def of(*parts: object) -> str:
    """The version of a resource: of what was set, by its content, so that setting the same again gives the same."""
    return canonical.digest(list(parts)).removeprefix("sha256:")[:_DIGITS]


def tagged(value: T, version: str, *, status: int = 200) -> Response[T]:
    """An answer with its version as strong ETag."""
    return Response(value, status_code=status, headers={"ETag": f'"{version}"'})


def require(if_match: str, current: str, *, resource: str, name: str) -> None:
    """Compare within the transaction that changes: `*` is any version, a weak tag is none.

    Errors: InvalidRequest without a tag: whoever changes has looked first. PreconditionFailed if none is the present one.
    """
    if not if_match.strip():
        raise errors.InvalidRequest(
            f"no `If-Match`; look at {resource} `{name}` and send its ETag, so that nobody's change is lost",
            field="If-Match",
        )
    wanted = {tag.strip() for tag in if_match.split(",")}
    if not wanted & {"*", f'"{current}"'}:
        raise errors.PreconditionFailed(
            f'{resource} `{name}` was changed since; look at it again, then send its ETag `"{current}"`',
            resource=resource,
            name=name,
            current=current,
        )
