"""What a pipeline's run knows of its nodes: the answer of its `status` query. Deterministic: workflow time only."""

from __future__ import annotations

from typing import Any, Final

from temporalio import workflow

from mainspring.core import errors
from mainspring.core.contracts import pipelines, training
from mainspring.core.contracts.pipelines import NodeReport, NodeState, Value
from mainspring.core.contracts.training import Stage, StepReport
from mainspring.workflows import run_log
from mainspring.workflows.pipelines import deciding, messages

__all__ = ["Progress", "brief"]

#: A list of more items is told without them in a run's result: they are in the store.
_MAX_TOLD_ITEMS: Final = 20
_OVER: Final = (NodeState.DONE, NodeState.FAILED, NodeState.REJECTED, NodeState.SKIPPED)


class Progress:
    def __init__(self, run_id: str) -> None:
        self._log = run_log.RunLog(run_id)
        self._nodes: dict[str, NodeReport] = {}
        self._begun: dict[str, float] = {}

    @property
    def steps(self) -> list[StepReport]:
        return self._log.steps

    def nodes(self) -> list[NodeReport]:
        return list(self._nodes.values())

    def status(self) -> training.RunStatus:
        nodes = [node.model_dump(mode="json", exclude_defaults=True) for node in self._nodes.values()]
        return self._log.status().model_copy(update={"detail": {"nodes": nodes} if nodes else {}})

    def begin(self, graph: pipelines.PipelineGraph) -> None:
        self._nodes = {node.name: NodeReport(name=node.name) for node in graph.nodes}
        self._tell()

    def state(self, name: str, state: NodeState, message: str = "") -> None:
        if state in (NodeState.RUNNING, NodeState.APPROVAL):
            self._begun[name] = workflow.time()
        self._change(name, state=state, message=message)

    def says(self, name: str, message: str) -> None:
        self._change(name, message=message)

    def found(self, name: str, found: messages.Found) -> None:
        hits = sum(seen.value is not None for seen in found.items)
        why = next((seen.why for seen in found.items if seen.value is None), "")
        self._change(name, items=len(found.items), from_cache=hits, why_not_cached=why)

    def ran(self, name: str, ran: messages.Ran) -> None:
        """One job of a node has ended."""
        before = self._nodes[name]
        self._change(
            name,
            tries=before.tries + 1,
            cpu_seconds=round(before.cpu_seconds + ran.cpu_seconds, 3),
            message=ran.message if ran.value is None else "",
        )

    def done(self, name: str) -> None:
        node = self._nodes[name]
        self._finish(name, NodeState.DONE, is_reused=node.tries == 0)

    def approved(self, name: str, gate: deciding.Gate) -> None:
        by = tuple(decision.by for decision in gate.decisions if decision.approve)
        self._change(name, approved_by=by)
        self._finish(name, NodeState.DONE if gate.is_approved else NodeState.REJECTED)

    def end(self, stage: Stage, message: str, error: errors.MainspringError | None) -> None:
        self._log.end(stage, message, error)

    def summary(self) -> str:
        items = sum(node.items for node in self._nodes.values() if node.state is NodeState.DONE)
        hits = sum(node.from_cache for node in self._nodes.values())
        return f"{len(self._nodes)} nodes done; of {items} answers {hits} were in the cache"

    def _finish(self, name: str, state: NodeState, *, is_reused: bool = False) -> None:
        seconds = round(workflow.time() - self._begun[name], 3)
        self._change(name, state=state, seconds=seconds, message="")
        node = self._nodes[name]
        detail = node.model_dump(mode="json", exclude_defaults=True, exclude={"state", "seconds", "message"})
        stage = Stage.APPROVAL if node.approved_by or state is NodeState.REJECTED else Stage.STEP
        self._log.steps.append(StepReport(step=stage, seconds=seconds, detail=detail, reused=is_reused))

    def _change(self, name: str, **found: Any) -> None:
        self._nodes[name] = self._nodes[name].model_copy(update=found)
        self._tell()

    def _tell(self) -> None:
        """The run's own stage: it is at an approval where nothing else is under way."""
        states = [node.state for node in self._nodes.values()]
        over = sum(state in _OVER for state in states)
        waits = NodeState.APPROVAL in states and NodeState.RUNNING not in states
        running = [n.name for n in self._nodes.values() if n.state in (NodeState.RUNNING, NodeState.APPROVAL)]
        self._log.enter(
            Stage.APPROVAL if waits else Stage.STEP,
            f"{over} of {len(states)} nodes are over" + (f"; at {', '.join(running[:5])}" if running else ""),
            progress=over / len(states),
        )


def brief(value: Value) -> Value:
    return value.model_copy(update={"items": ()}) if len(value.items) > _MAX_TOLD_ITEMS else value
