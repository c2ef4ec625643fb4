"""The cache of steps: an answer is used again where code, inputs and environment are the same, and a miss says why.

A step's key is the digest of all that its answer is made from (:class:`Made`). Keys are the project's, so that two
pipelines share what they do alike. What a step of a pipeline was last made from is kept beside, to say what changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from mainspring.core import canonical
from mainspring.core.contracts import pipelines
from mainspring.core.contracts.base import Message, UtcTime
from mainspring.core.pipelines import environment, sources
from mainspring.core.pipelines.store import PipelineStore

__all__ = ["Kept", "Lookup", "Made", "basis", "find", "keep"]

_SHORT: Final = 60
_MAX_CHANGES: Final = 4


class Made(Message):
    """All that an answer comes from."""

    function: str
    version: str = ""
    is_spread: bool = False
    code: dict[str, str]
    """Digests of definitions and files; see `sources.code_of`."""
    inputs: dict[str, str]
    """By argument: a literal as JSON, the identity of a value of another step."""
    environment: str
    """The digest of the lock."""

    def of(self, inputs: Mapping[str, pipelines.Value]) -> Made:
        """With what other nodes made; of a mapped node one item's."""
        found = {name: value.identity for name, value in inputs.items()}
        return self.model_copy(update={"inputs": {**self.inputs, **found}})

    @property
    def key(self) -> str:
        return canonical.digest(self.model_dump(mode="json")).removeprefix("sha256:")


class Kept(Message):
    """An answer in the cache."""

    made: Made
    value: pipelines.Value
    run_id: str
    at: UtcTime


class Lookup(Message):
    """What the cache says of a step: the answer, or why there is none."""

    key: str
    value: pipelines.Value | None = None
    why: str = ""
    from_run: str = ""


class _Lock(BaseModel):
    versions: dict[str, str]


def basis(store: PipelineStore, pack: pipelines.Pack, node: pipelines.Node) -> Made:
    """What any answer of a node comes from, before the inputs that other nodes make. Errors: those of `code_of`."""
    lock = dict(environment.lock())
    digest = canonical.digest(lock)
    store.keep("environments", digest.removeprefix("sha256:"), _Lock(versions=lock))
    literals = {name: canonical.dumps(i.literal).decode() for name, i in node.inputs.items() if not i.node}
    return Made(
        function=node.function,
        version=node.version,
        is_spread=node.is_spread,
        code=sources.code_of(pack.sources, node.function),
        inputs=literals,
        environment=digest,
    )


def find(
    store: PipelineStore,
    made: Made,
    *,
    place: str,
    is_cached: bool = True,
    resume_of: str = "",
    is_again: bool = False,
) -> Lookup:
    """`place` is the step's in its pipeline (`pipeline/node` or `pipeline/node-3`)."""
    if is_again:
        return Lookup(key=made.key, why="it was asked to be done again")
    kept = store.kept(_shelf(made.key), made.key, Kept) if is_cached else None
    if kept is None and resume_of:
        kept = store.kept(_of_run(store, resume_of), made.key, Kept)
    if kept is None and not is_cached:
        return Lookup(key=made.key, why="it is declared with `cache=False`")
    if kept is None:
        before = store.kept("latest", place, Made)
        return Lookup(key=made.key, why=_why(store, before, made))
    if not store.has(kept.value):
        return Lookup(key=made.key, why="its answer is not in the store any more")
    return Lookup(key=made.key, value=kept.value, from_run=kept.run_id)


def keep(
    store: PipelineStore,
    made: Made,
    value: pipelines.Value,
    *,
    place: str,
    run_id: str,
    at: Any,
    is_cached: bool,
) -> None:
    """Keep an answer for later, and say of the step what it was last made from."""
    kept = Kept(made=made, value=value, run_id=run_id, at=at)
    if is_cached:
        store.keep(_shelf(made.key), made.key, kept, anew=True)
    store.keep(_of_run(store, run_id), made.key, kept, anew=True)
    store.keep("latest", place, made, anew=True)


def _shelf(key: str) -> str:
    return f"cache/{key[:2]}"


def _of_run(store: PipelineStore, run_id: str) -> str:
    return (store.run(run_id) / "made").relative_to(store.root).as_posix()


def _why(store: PipelineStore, before: Made | None, now: Made) -> str:
    """What changed since the step was last done."""
    if before is None:
        return "it was not done before"
    if before == now:
        return "what it made is not kept any more"
    said: list[str] = []
    if (before.function, before.version) != (now.function, now.version):
        said.append(f"its version `{before.version}` -> `{now.version}`")
    changed = [name for name in {*before.code, *now.code} if before.code.get(name) != now.code.get(name)]
    if changed:
        said.append("code of " + ", ".join(f"`{name}`" for name in sorted(changed)[:_MAX_CHANGES]))
    for name in sorted({*before.inputs, *now.inputs}):
        if before.inputs.get(name) != now.inputs.get(name):
            said.append(_input(name, before.inputs.get(name), now.inputs.get(name)))
    if before.environment != now.environment:
        said.append("environment: " + _environment(store, before.environment, now.environment))
    if before.is_spread != now.is_spread:
        said.append("whether its list is mapped over")
    return "changed: " + "; ".join(said)


def _input(name: str, before: str | None, now: str | None) -> str:
    if before is None or now is None:
        return f"input `{name}` is new" if before is None else f"input `{name}` is gone"
    is_literal = not (before.startswith("sha256:") or now.startswith("sha256:"))
    if is_literal and len(before) <= _SHORT and len(now) <= _SHORT:
        return f"input `{name}` is {now}, was {before}"
    return f"input `{name}`"


def _environment(store: PipelineStore, before: str, now: str) -> str:
    old = store.kept("environments", before.removeprefix("sha256:"), _Lock)
    new = store.kept("environments", now.removeprefix("sha256:"), _Lock)
    if old is None or new is None:
        return "another lock"
    told = environment.difference(old.versions, new.versions)
    more = len(told) - _MAX_CHANGES
    return ", ".join(told[:_MAX_CHANGES]) + (f" and {more} more" if more > 0 else "")
