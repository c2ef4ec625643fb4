"""Runs a pipeline in this process: for notebooks and tests, with the store and the cache that workers have."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainspring.core import errors, ids
from mainspring.core.contracts import pipelines
from mainspring.core.contracts.base import utc_now
from mainspring.core.contracts.pipelines import NodeReport, NodeState, Value
from mainspring.core.pipelines import cache, declarations, execution, loading, values
from mainspring.core.pipelines.given import giving
from mainspring.core.pipelines.store import PipelineStore, fresh_folder

__all__ = ["LocalRun", "run_locally"]

#: Asked for each approval: its node, and what is to go on.
Approve = Callable[[pipelines.Node], bool]


@dataclass
class LocalRun:
    """What came of it. `answers` are values of the store; :meth:`answer` reads one."""

    run_id: str
    store: PipelineStore
    made: dict[str, Value] = field(default_factory=dict)
    reports: dict[str, NodeReport] = field(default_factory=dict)
    answers: dict[str, Value] = field(default_factory=dict)

    def answer(self, kind: Any, name: str = "answer") -> Any:
        """As a value of that type. Errors: NotFound, InvalidRequest."""
        if name not in self.answers:
            raise errors.NotFound(
                f"the pipeline gives no `{name}`; return it from the pipeline", resource="answer", name=name
            )
        return values.take(self.store, self.answers[name], kind, self.store.run(self.run_id) / name, name)


def run_locally(
    pipeline: declarations.Pipeline | loading.Loaded,
    store: PipelineStore,
    *,
    parameters: Mapping[str, Any] | None = None,
    approve: Approve | None = None,
    use_cache: bool = True,
    again_from: tuple[str, ...] = (),
    secrets: Mapping[str, str] | None = None,
) -> LocalRun:
    """Build it and do its steps one after the other; the steps' own code runs in this process. `secrets`: by name, what steps may
    read that were declared with them; nobody is asked for others.

    Errors: those of `Loaded.pack`; what a step raises, as it is, and then what was done before is in the cache;
    ApprovalRequired for an approval without `approve`, PolicyDenied where that says no.
    """
    loaded = loading.of(pipeline) if isinstance(pipeline, declarations.Pipeline) else pipeline
    pack = loaded.pack(**dict(parameters or {}))
    again = _again(pack.graph, again_from)
    done = LocalRun(ids.new_id("run"), store)
    for node in pack.graph.nodes:
        inputs = pipelines.resolved(node.inputs, done.made)
        if node.approval is not None:
            _ask(node, approve, done.run_id)
            done.made[node.name] = inputs["value"]
            done.reports[node.name] = NodeReport(name=node.name, state=NodeState.DONE)
            continue
        is_again = node.name in again or not use_cache
        given = {name: value for name, value in (secrets or {}).items() if name in node.secrets}
        with giving(given):
            done.made[node.name], done.reports[node.name] = _step(loaded, pack, node, inputs, done, is_again)
    done.answers = {name: done.made[one.node].at(one.path) for name, one in pack.graph.answers.items()}
    return done


def _again(graph: pipelines.PipelineGraph, names: tuple[str, ...]) -> frozenset[str]:
    known = {node.name for node in graph.nodes}
    for name in names:
        if name not in known:
            raise errors.NotFound(
                f"pipeline `{graph.name}` has no step `{name}`; it has {', '.join(f'`{n}`' for n in sorted(known))}",
                resource="step",
                name=name,
            )
    return graph.after(frozenset(names))


def _ask(node: pipelines.Node, approve: Approve | None, run_id: str) -> None:
    if approve is None:
        raise errors.ApprovalRequired(
            f"`{node.name}` waits for a decision; give `approve=` to a run of this process", run_id=run_id
        )
    if not approve(node):
        raise errors.PolicyDenied(f"`{node.name}` was rejected", rule_id=node.name)


def _step(
    loaded: loading.Loaded,
    pack: pipelines.Pack,
    node: pipelines.Node,
    inputs: Mapping[str, Value],
    done: LocalRun,
    is_again: bool,
) -> tuple[Value, NodeReport]:
    begun, cpu = time.perf_counter(), time.process_time()
    items = inputs[node.each].items if node.each else (None,)
    made: list[Value] = []
    why, hits = "", 0
    basis = cache.basis(done.store, pack, node)
    for index, item in enumerate(items):
        own = {**inputs, node.each: item} if item is not None else dict(inputs)
        place = f"{pack.graph.name}/{node.name}" + (f"-{index}" if node.each else "")
        of_item = basis.of(own)
        found = cache.find(done.store, of_item, place=place, is_cached=node.is_cached, is_again=is_again)
        value = found.value
        if value is None:
            why = why or found.why
            folder = fresh_folder(done.store.run(done.run_id) / "inputs" / place)
            value = execution.execute(done.store, loaded.step(node.function), node, own, folder)
        else:
            hits += 1
        made.append(value)
        cache.keep(
            done.store,
            of_item,
            value,
            place=place,
            run_id=done.run_id,
            at=utc_now(),
            is_cached=node.is_cached and found.value is None,
        )
    report = NodeReport(
        name=node.name,
        state=NodeState.DONE,
        items=len(items),
        from_cache=hits,
        why_not_cached=why,
        tries=len(items) - hits,
        seconds=time.perf_counter() - begun,
        cpu_seconds=time.process_time() - cpu,
    )
    return (Value.of_items(made) if node.each else made[0]), report
