"""What the v2 protocol says of the server and its models, as JSON values; gRPC writes the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mainspring.core import errors
from mainspring.serving.models import book, repository, tensor_model

SERVER_NAME: Final = "mainspring"
EXTENSIONS: Final = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
    "schedule_policy",
)


def server(version: str) -> dict[str, Any]:
    """`GET /v2`."""
    return {"name": SERVER_NAME, "version": version, "extensions": list(EXTENSIONS)}


def model(found: tensor_model.TensorModel, version: str) -> dict[str, Any]:
    """`GET /v2/models/M[/versions/V]`. Errors: NotFound for the version."""
    signature = found.signature(version)
    return {
        "name": found.name,
        "versions": [version] if version else list(found.versions()),
        "platform": signature.platform,
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec in signature.outputs],
    }


def config(found: tensor_model.TensorModel, version: str) -> dict[str, Any]:
    """`GET /v2/models/M/config`, as Triton's model configuration.

    Dimensions leave the batch out where there is one. A tensor of nothing but a batch has no such form there: its
    model says `max_batch_size` 0 and whole shapes.
    """
    signature = found.signature(version)
    specs = (*signature.inputs, *signature.outputs)
    batched = signature.max_batch_size > 0 and all(len(spec.shape) > 1 for spec in specs)
    return {
        "name": found.name,
        "platform": signature.platform,
        "backend": SERVER_NAME,
        "version_policy": {"latest": {"num_versions": len(found.versions())}},
        "max_batch_size": signature.max_batch_size if batched else 0,
        "input": [_dims(spec, batched) for spec in signature.inputs],
        "output": [_dims(spec, batched) for spec in signature.outputs],
        "instance_group": [{"name": found.name, "kind": "KIND_CPU", "count": 1}],
        "model_transaction_policy": {"decoupled": False},
    }


def statistics(
    models: repository.Repository, counts: book.ModelBook, name: str, version: str
) -> dict[str, Any]:
    """`GET /v2/models[/M[/versions/V]]/stats`: every version in the index, with zeros if nothing was asked of it.

    Errors: NotFound for the model or version.
    """
    if name:
        found = models.get(name)
        found.signature(version)
        wanted = {(name, v) for v in ((version,) if version else found.versions())}
    else:
        wanted = {(e.name, e.version) for e in models.index() if e.state == repository.READY}
    entries = counts.entries()
    # A version that left the traffic keeps its numbers.
    known = wanted | {key for key in entries if not name or (key[0] == name and version in ("", key[1]))}
    return {"model_stats": [_statistics(key, entries.get(key, book.Entry())) for key in sorted(known)]}


def index(models: repository.Repository, *, only_ready: bool) -> list[dict[str, str]]:
    """`POST /v2/repository/index`."""
    return [
        {"name": e.name, "version": e.version, "state": e.state, "reason": e.reason}
        for e in models.index()
        if not only_ready or e.state == repository.READY
    ]


def check_load_parameters(parameters: Mapping[str, Any]) -> None:
    """Errors: InvalidRequest for what loading cannot change: files and configuration come from the signed bundle."""
    refused = sorted(name for name in parameters if name != "unload_dependents")
    if refused:
        raise errors.InvalidRequest(
            f"parameter `{refused[0][:80]}` is not taken: files and configuration come from the signed bundle; load it"
            " without",
            field="parameters",
        )


def _tensor(spec: tensor_model.TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _dims(spec: tensor_model.TensorSpec, batched: bool) -> dict[str, Any]:
    return {
        "name": spec.name,
        "data_type": spec.type.config_name,
        "dims": list(spec.shape[1:] if batched else spec.shape),
    }


def _statistics(key: tuple[str, str], entry: book.Entry) -> dict[str, Any]:
    n, nanos = entry.requests, entry.nanos
    return {
        "name": key[0],
        "version": key[1],
        "last_inference": entry.last_ms,
        "inference_count": entry.rows,
        "execution_count": n,
        "inference_stats": {
            "success": {"count": n, "ns": nanos.total},
            "fail": {"count": sum(entry.failed.values()), "ns": entry.failed_nanos},
            "queue": {"count": n, "ns": nanos.queue},
            "compute_input": {"count": n, "ns": nanos.input},
            "compute_infer": {"count": n, "ns": nanos.infer},
            "compute_output": {"count": n, "ns": nanos.output},
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
        "memory_usage": [],
    }
