"""What the tests of `platform/deploy` share: an overlay as Kubernetes gets it, its pods, and what their environment says."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "platform" / "deploy"
OVERLAYS: Final = ("dev", "staging", "prod")

Object = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> tuple[Object, ...]:
    """Every object of an overlay, as `kubectl apply -k` would send it."""
    kubectl = Path(sys.executable).parent / "kubectl"
    folder = DEPLOY / "kubernetes" / "overlays" / overlay
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> dict[str, Object]:
    return {o["metadata"]["name"]: o for o in rendered(overlay) if o["kind"] == kind}


@dataclass(frozen=True)
class Pod:
    """A pod's template and where it stands."""

    name: str
    labels: Mapping[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def pods(overlay: str) -> Iterator[Pod]:
    """Of every kind that has some, KubeRay's and KServe's too."""
    for one in rendered(overlay):
        name, spec = one["metadata"]["name"], one.get("spec", {})
        match one["kind"]:
            case "Deployment" | "StatefulSet":
                yield _pod(name, spec["template"])
            case "RayCluster":
                yield from _ray_pods(name, spec)
            case "RayService":
                yield from _ray_pods(name, spec["rayClusterConfig"])
            case "ServingRuntime":
                yield Pod(name, {}, spec)


def _ray_pods(name: str, cluster: Object) -> Iterator[Pod]:
    yield _pod(f"{name}-head", cluster["headGroupSpec"]["template"])
    for group in cluster["workerGroupSpecs"]:
        yield _pod(f"{name}-{group['groupName']}", group["template"])


def _pod(name: str, template: Object) -> Pod:
    return Pod(name, template["metadata"]["labels"], template["spec"])


def pod(overlay: str, name: str) -> Pod:
    return next(p for p in pods(overlay) if p.name == name)


def environment(overlay: str, container: Object) -> dict[str, str]:
    """A container's variables; those of secrets are `<the secret's key>`."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= of_kind(overlay, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", ()):
        match variable.get("valueFrom"):
            case {"secretKeyRef": reference}:
                found[variable["name"]] = f"<{reference['key']}>"
            case {"configMapKeyRef": reference}:
                data = of_kind(overlay, "ConfigMap")[reference["name"]]["data"]
                found[variable["name"]] = data[reference["key"]]
            case _:
                found[variable["name"]] = variable["value"]
    return found
