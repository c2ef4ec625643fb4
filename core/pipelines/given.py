"""The secrets that a step was given: in the memory of its process alone, not in its environment, which its children would have."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping

from mainspring.core import errors

__all__ = ["give_process", "giving", "secret"]

_given: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar("given", default=None)
#: Of a process that does one step: its threads have it, too.
_of_process: dict[str, str] = {}


def secret(name: str) -> str:
    """What the project's secret `name` is, within a step that was declared with it: `@step(secrets=("warehouse",))`.

    Errors: NotFound.
    """
    given = _given.get()
    known = _of_process if given is None else given
    if name not in known:
        raise errors.NotFound(
            f'this step was given no secret `{name}`; declare it with `@step(secrets=("{name}",))`, and see'
            " that `mainspring secret list` has it",
            resource="secret",
            name=name,
        )
    return known[name]


def give_process(values: Mapping[str, str]) -> None:
    """For the process that does one step and ends."""
    _of_process.update(values)


@contextlib.contextmanager
def giving(values: Mapping[str, str]) -> Iterator[None]:
    """For steps that run within this block, of this process."""
    token = _given.set(dict(values))
    try:
        yield
    finally:
        _given.reset(token)
