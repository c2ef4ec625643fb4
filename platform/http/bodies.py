"""Documents that are JSON by its letter, and that nothing behind this door should have to hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from litestar import Request

from mainspring.core import errors

#: Of lists and objects in one another. What is taken is written, hashed and read again, each by a recursion of its own.
MAX_DEPTH: Final = 100


class BoundedRequest(Request[Any, Any, Any]):
    """A request whose JSON is UTF-8 and nested at most so deep."""

    async def json(self) -> Any:
        """Errors: InvalidRequest; SerializationException for what is no JSON."""
        try:
            found = await super().json()
        except RecursionError:
            raise _too_deep() from None
        except UnicodeDecodeError as error:
            raise errors.InvalidRequest(f"the body is no UTF-8: {error}; send JSON in UTF-8") from None
        if _is_deeper(found, MAX_DEPTH):
            raise _too_deep()
        return found


def _too_deep() -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"the body has more than {MAX_DEPTH} lists and objects in one another; send a flatter one, see /schema"
    )


def _is_deeper(document: Any, depth: int) -> bool:
    """Level by level: a recursion would be the fault that this is against."""
    level = _nested([document])
    for _ in range(depth):
        level = _nested(
            inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)
        )
    return bool(level)


def _nested(values: Iterable[Any]) -> list[dict[str, Any] | list[Any]]:
    return [value for value in values if isinstance(value, dict | list)]
