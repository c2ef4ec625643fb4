"""What stands for the store, the cache and Ray in tests of a pipeline's decisions: answers by node, scripted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity

from mainspring.core import canonical, errors
from mainspring.core.contracts import pipelines
from mainspring.core.contracts.pipelines import Input, Node, PipelineGraph, Value, ValueKind
from mainspring.workflows.pipelines import messages

PACK = "sha256:" + "c" * 64


def value(text: str) -> Value:
    return Value(kind=ValueKind.JSON, digest=canonical.digest(text), bytes=len(text))


def parts(*texts: str) -> Value:
    return Value.of_items([value(text) for text in texts])


def step(name: str, *needs: str, **more: Any) -> Node:
    inputs = {f"a{i}": Input(node=needed) for i, needed in enumerate(needs)}
    return Node(name=name, function=f"pipeline:{name}", inputs=inputs, **more)


def gate(name: str, needed: str, **more: Any) -> Node:
    return Node(name=name, inputs={"value": Input(node=needed)}, approval=pipelines.Approval(**more))


def graph(*nodes: Node, answer: str = "") -> PipelineGraph:
    return PipelineGraph(
        name="nightly", nodes=nodes, answers={"answer": Input(node=answer or nodes[-1].name)}
    )


@dataclass
class Jobs:
    """`answers`: node -> its value; another is made of its name. `failing`: node or node-item -> how its tries fail."""

    graph: PipelineGraph
    answers: dict[str, Value] = field(default_factory=dict)
    cached: dict[str, Value] = field(default_factory=dict)
    failing: dict[str, list[messages.Ran]] = field(default_factory=dict)
    for_ever: str = ""
    asked: list[messages.RunStep] = field(default_factory=list)
    found: list[messages.Find] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    together: int = 1
    """No job ends before so many have been at work at a time."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False

    @property
    def ran(self) -> list[str]:
        return [a.node if a.index is None else f"{a.node}-{a.index}" for a in self.asked]

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.LOAD)
        async def load(_: pipelines.PipelineRequest) -> messages.Graph:
            return messages.Graph(graph=self.graph.model_dump_json())

        @activity.defn(name=messages.FIND)
        async def find(asked: messages.Find) -> messages.Found:
            self.found.append(asked)
            node = self.graph.node(asked.node)
            items = len(asked.inputs[node.each].items) if node.each else 1
            cached = None if asked.is_again else self.cached.get(asked.node)
            seen = messages.Seen(value=cached, why="" if cached else "it was not done before")
            return messages.Found(items=[seen] * items)

        @activity.defn(name=messages.RUN)
        async def run(asked: messages.RunStep) -> messages.Ran:
            self.asked.append(asked)
            self.begun.set()
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                while self.most_at_once < self.together and asked.index is not None:
                    activity.heartbeat()
                    await asyncio.sleep(0.01)
                while asked.node == self.for_ever:
                    activity.heartbeat()
                    await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                self.stopped = True
                raise
            finally:
                self.at_once -= 1
            name = self.ran_name(asked)
            if self.failing.get(name):
                return self.failing[name].pop(0)
            return messages.Ran(value=self.answers.get(asked.node, value(name)), job=name, cpu_seconds=1.5)

        return [load, find, run]

    @staticmethod
    def ran_name(asked: messages.RunStep) -> str:
        return asked.node if asked.index is None else f"{asked.node}-{asked.index}"


def raised(*classes: str, error: errors.MainspringError | None = None) -> messages.Ran:
    return messages.Ran(
        failure="exception",
        message=f"{classes[0]}: no",
        classes=classes,
        error=json.dumps(errors.to_wire(error)) if error else "",
        job="job",
    )


def pipeline_request(**changes: Any) -> pipelines.PipelineRequest:
    values = {"run_id": "run_pipe", "project": "flight-delay", "requested_by": "ana", "pack": PACK}
    return pipelines.PipelineRequest.model_validate(values | changes)
