"""`ETag` and `If-Match`: a change is made of the resource that its caller looked at, or not at all.

A tag is `"version.content"`: the version is of what people set, and is what a change is held against; the content is of
the answer as a whole, with what is spent or running, and is what `If-None-Match` asks about (`conditional.py`). Answers to a change
have the version alone, and that counts as well.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias, TypeVar

from litestar import Response
from litestar.params import HeaderParameter

from mainspring.core import errors
from mainspring.core.contracts import base

T = TypeVar("T")

#: The parameter of every route that changes what there is.
IfMatch: TypeAlias = Annotated[str, HeaderParameter(name="If-Match")]

#: Between a version and what the whole answer adds to it.
BETWEEN: Final = "."

of = base.version_of


def tagged(value: T, version: str, *, status: int = 200) -> Response[T]:
    """An answer with its version as strong ETag."""
    return Response(value, status_code=status, headers={"ETag": f'"{version}"'})


def require(if_match: str, current: str, *, resource: str, name: str) -> None:
    """Compare within the transaction that changes: `*` is any version, a weak tag is none.

    Errors: PreconditionRequired without a tag: a blind change would undo somebody's; PreconditionFailed as :func:`check`.
    """
    if not if_match.strip():
        raise errors.PreconditionRequired(
            f"no `If-Match`; look at {resource} `{name}` and send its ETag, so that nobody's change is lost",
            resource=resource,
            name=name,
            current=current,
        )
    check(if_match, current, resource=resource, name=name)


def check(if_match: str, current: str, *, resource: str, name: str) -> None:
    """As :func:`require` for what cannot be lost by a blind change: a tag counts where one is sent.

    Errors: PreconditionFailed if none of the tags is of the present version.
    """
    if if_match.strip() and not _names(if_match, current):
        raise errors.PreconditionFailed(
            f'{resource} `{name}` was changed since; look at it again, then send its ETag `"{current}"`',
            resource=resource,
            name=name,
            current=current,
        )


def is_any(if_match: str) -> bool:
    """Whichever version there is, as long as there is one."""
    return "*" in _tags(if_match)


def _names(if_match: str, current: str) -> bool:
    return any(
        tag == "*" or (tag[:1] == tag[-1:] == '"' and tag[1:-1].partition(BETWEEN)[0] == current)
        for tag in _tags(if_match)
    )


def _tags(if_match: str) -> list[str]:
    return [tag.strip() for tag in if_match.split(",")]
