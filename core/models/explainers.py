"""What explains a bundle's model: by its kind, as `core/models/runtimes.py` chooses what runs it."""

from __future__ import annotations

from mainspring.core.features import program
from mainspring.core.models import explain, explain_network, explain_trees, manifest
from mainspring.core.models import source as sources

__all__ = ["check_kind", "of_bundle"]


def of_bundle(source: sources.ModelSource, compiled: program.Program) -> explain.Explainer:
    """What explains the model of a verified bundle, whose runtime has been loaded before.

    Errors: Conflict, which says what to do, for a kind or a model that has no method; CorruptArtifact and MissingTool as
    the runtime's.
    """
    check_kind(source.kind, source.digest)
    if source.kind == "trees":
        return explain_trees.TreesExplainer.load(source)
    if source.kind == "embedding_mlp":
        return explain_network.NetworkExplainer.load(source, explain.baseline_of(compiled))
    from mainspring.core.models import explain_exported  # torch, which the runtime imported already

    return explain_exported.ExportedExplainer.load(source, compiled, explain.baseline_of(compiled))


def check_kind(kind: manifest.Kind, digest: str) -> None:
    """Errors: Conflict for a kind whose models nothing here can look into."""
    if kind == "onnx":
        raise explain.inexplicable(
            digest,
            "an ONNX graph has no gradients here",
            "bundle the model as `trees` or `embedding_mlp`, or its torch program as `torch_export`",
        )
    if kind == "ensemble":
        raise explain.inexplicable(
            digest,
            "the scores of its steps are mixed after their links, so no margins add up",
            "put the step that matters behind an endpoint of its own and ask that",
        )
