"""KubeRay's `ray.io/v1` as a JSON schema, written from its published API reference (v1.6): names of fields and types.

Its own CRDs are in no registry that can be asked offline. Pods are Kubernetes', whose schemas say what is in them.
"""

from __future__ import annotations

from typing import Any, Final


def _closed(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": fields,
    }


_ANY: Final[dict[str, Any]] = {"type": "object"}
_LIST: Final = {"type": "array"}
_TEXT: Final = {"type": "string"}
_WHOLE: Final = {"type": "integer", "minimum": 0}
_TRUTH: Final = {"type": "boolean"}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}

_AUTOSCALER: Final = _closed(
    resources=_ANY,
    image=_TEXT,
    imagePullPolicy=_TEXT,
    securityContext=_ANY,
    idleTimeoutSeconds=_WHOLE,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    env=_LIST,
    envFrom=_LIST,
    volumeMounts=_LIST,
)
_HEAD: Final = _closed(
    ("template",),
    template=_ANY,
    headService=_ANY,
    enableIngress=_TRUTH,
    resources=_TEXTS,
    labels=_TEXTS,
    rayStartParams=_TEXTS,
    serviceType=_TEXT,
)
_GROUP: Final = _closed(
    ("groupName", "maxReplicas", "minReplicas", "template"),
    suspend=_TRUTH,
    groupName=_TEXT,
    replicas=_WHOLE,
    minReplicas=_WHOLE,
    maxReplicas=_WHOLE,
    idleTimeoutSeconds=_WHOLE,
    resources=_TEXTS,
    labels=_TEXTS,
    rayStartParams=_TEXTS,
    template=_ANY,
    scaleStrategy=_ANY,
    numOfHosts=_WHOLE,
)
_CLUSTER: Final = _closed(
    ("headGroupSpec",),
    suspend=_TRUTH,
    managedBy=_TEXT,
    authOptions=_closed(mode={"enum": ["disabled", "token"]}, secretName=_TEXT, enableK8sTokenAuth=_TRUTH),
    autoscalerOptions=_AUTOSCALER,
    headServiceAnnotations=_TEXTS,
    enableInTreeAutoscaling=_TRUTH,
    gcsFaultToleranceOptions=_ANY,
    headGroupSpec=_HEAD,
    rayVersion=_TEXT,
    workerGroupSpecs={"type": "array", "items": _GROUP},
    upgradeStrategy=_ANY,
)
_SERVICE: Final = _closed(
    rayClusterDeletionDelaySeconds=_WHOLE,
    serveService=_ANY,
    upgradeStrategy=_ANY,
    serveConfigV2=_TEXT,
    rayClusterConfig=_CLUSTER,
    excludeHeadPodFromServeSvc=_TRUTH,
)


def _kind(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    every = ("apiVersion", "kind", "metadata", "spec")
    return _closed(every, apiVersion={"const": "ray.io/v1"}, kind={"const": name}, metadata=_ANY, spec=spec)


#: By kind.
SCHEMAS: Final = {
    "RayCluster": _kind("RayCluster", _CLUSTER),
    "RayService": _kind("RayService", _SERVICE),
}
