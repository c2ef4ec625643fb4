"""Pipelines as code: `@step` functions with typed inputs and outputs, composed by `@pipeline`, run here or by workers."""

from mainspring.core.pipelines.declarations import Pipeline, Step, approval, each, pipeline, step
from mainspring.core.pipelines.given import secret
from mainspring.core.pipelines.local import LocalRun, run_locally
from mainspring.core.pipelines.store import PipelineStore

__all__ = [
    "LocalRun",
    "Pipeline",
    "PipelineStore",
    "Step",
    "approval",
    "each",
    "pipeline",
    "run_locally",
    "secret",
    "step",
]
