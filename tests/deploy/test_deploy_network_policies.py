"""Network policies, read as Kubernetes reads them: who reaches whom, and nobody else."""

from __future__ import annotations

import urllib.parse
from typing import Any

import pytest
from manifests import OVERLAYS, Pod, environment, of_kind, pod, pods, rendered

#: From, to, port: what the settings make them ask (`test_deploy_kubernetes.py` holds those against services).
NEEDED = {
    ("worker", "control", 7700),
    ("worker", "serving", 7701),
    ("worker", "mlflow", 5000),
    ("worker", "ray-head", 8265),
    ("serving", "control", 7700),
    ("control", "mlflow", 5000),
    ("ray-stays", "mlflow", 5000),
    ("ray-stays", "ray-head", 6379),
    ("ray-head", "ray-spot", 10002),
}
PORTS = (5000, 6379, 7700, 7701, 7706, 7708, 8000, 8265, 10002)
HEADS = ("mainspring-ray-head", "mainspring-bundles-head")

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)


def chosen(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """A label selector. Errors: KeyError for an operator that these manifests do not use."""
    words = selector.get("matchExpressions", ())
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        {"In": labels.get(w["key"]) in w["values"]}[w["operator"]] for w in words
    )


def lets(overlay: str, of: Pod, other: dict[str, Any], port: int, way: str) -> bool:
    """Does any policy of `of` let this way (`ingress`, `egress`) to or from `other`; no policy at all lets everything."""
    mine = [
        p["spec"]
        for p in of_kind(overlay, "NetworkPolicy").values()
        if way.capitalize() in p["spec"]["policyTypes"] and chosen(p["spec"]["podSelector"], dict(of.labels))
    ]
    peers = "from" if way == "ingress" else "to"
    return not mine or any(
        (peers not in rule or any(is_peer(peer, other) for peer in rule[peers]))
        and ("ports" not in rule or any(p["port"] == port and p["protocol"] == "TCP" for p in rule["ports"]))
        for spec in mine
        for rule in spec.get(way, ())
    )


def is_peer(peer: dict[str, Any], other: dict[str, Any]) -> bool:
    if "ipBlock" in peer:
        return bool(other.get("cidr") == peer["ipBlock"]["cidr"])
    if "cidr" in other:
        return False
    if "namespaceSelector" in peer:
        within = chosen(peer["namespaceSelector"], other["namespace"])
        return within and chosen(peer.get("podSelector", {}), other["labels"])
    return other["namespace"] == OWN and chosen(peer["podSelector"], other["labels"])


OWN = {"kubernetes.io/metadata.name": "mainspring"}


def a_pod(of: Pod) -> dict[str, Any]:
    return {"namespace": OWN, "labels": dict(of.labels)}


def reaches(overlay: str, a: Pod, b: Pod, port: int) -> bool:
    return lets(overlay, a, a_pod(b), port, "egress") and lets(overlay, b, a_pod(a), port, "ingress")


@everywhere
def test_who_asks_whom_is_let_and_nothing_else(overlay: str) -> None:
    there = {p.name.removeprefix("mainspring-"): p for p in pods(overlay) if p.labels}
    found = {
        (a, b, port)
        for a in there
        for b in there
        for port in PORTS
        if reaches(overlay, there[a], there[b], port)
    }
    assert found >= NEEDED, NEEDED - found
    groups = [{name for name in there if name.startswith(kind)} for kind in ("ray-", "bundles-")]
    # The nodes of one Ray speak to one another on any port, and those of one to none of the other's.
    beyond = {(a, b, p) for a, b, p in found - NEEDED if not any(a in g and b in g for g in groups)}
    # What one Ray pod may, its neighbours of the same kind may, too.
    assert {(a.split("-")[0], b.split("-")[0], p) for a, b, p in beyond} <= {
        (a.split("-")[0], b.split("-")[0], p) for a, b, p in NEEDED
    }


@everywhere
def test_strangers_reach_nothing(overlay: str) -> None:
    stranger = {
        "namespace": {"kubernetes.io/metadata.name": "default"},
        "labels": {"app.kubernetes.io/name": "mainspring-worker"},
    }
    gateway = {"namespace": {"mainspring/access": "gateway"}, "labels": {}}
    open_to_gateway = set()
    for p in pods(overlay):
        if p.labels:
            assert not any(lets(overlay, p, stranger, port, "ingress") for port in PORTS), p.name
            open_to_gateway |= {
                (p.name, port) for port in PORTS if lets(overlay, p, gateway, port, "ingress")
            }
    assert open_to_gateway == {
        ("mainspring-control", 7700),
        ("mainspring-serving", 7701),
        ("mainspring-serving", 7706),
        ("mainspring-mlflow", 5000),
    } | {(p.name, 8000) for p in pods(overlay) if p.name.startswith("mainspring-bundles")}


@everywhere
def test_the_way_out_is_listed(overlay: str) -> None:
    database = {
        "cidr": of_kind(overlay, "NetworkPolicy")["database"]["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"]
    }
    assert database["cidr"].startswith("10."), "each environment names its own"
    anywhere = {"cidr": "198.51.100.9/32"}
    for p in pods(overlay):
        if p.labels:
            assert lets(overlay, p, database, 5432, "egress") == (
                p.name in ("mainspring-control", "mainspring-mlflow")
            )
            outside = lets(overlay, p, anywhere, 443, "egress")
            assert outside == (p.name in HEADS), "Kubernetes' own API, for the autoscaler"
    worker, temporal = pod(overlay, "mainspring-worker"), {"kubernetes.io/metadata.name": "temporal"}
    assert lets(overlay, worker, {"namespace": temporal, "labels": {}}, 7233, "egress")


@everywhere
def test_traces_get_out_to_the_collector_and_nowhere_else(overlay: str) -> None:
    collector = {"namespace": {"mainspring/access": "telemetry"}, "labels": {}}
    senders = set()
    for p in pods(overlay):
        if not p.labels:
            continue
        found = environment(overlay, p.spec["containers"][0])
        endpoint = urllib.parse.urlsplit(found.get("MAINSPRING_TELEMETRY_TRACE_ENDPOINT", ""))
        assert lets(overlay, p, collector, endpoint.port or 4318, "egress") == bool(endpoint.port), p.name
        assert not lets(overlay, p, collector, 443, "egress") or p.name in HEADS
        assert not lets(overlay, p, {"namespace": {}, "labels": {}}, 4318, "egress"), p.name
        if endpoint.port:
            assert (endpoint.path, (endpoint.hostname or "").endswith(".svc")) == ("/v1/traces", True)
            senders.add(p.name)
    assert senders == {f"mainspring-{n}" for n in ("control", "worker", "serving")} | {
        f"mainspring-ray-{n}" for n in ("head", "stays", "spot")
    } | {p.name for p in pods(overlay) if p.name.startswith("mainspring-bundles")}


@everywhere
def test_prometheus_reaches_what_is_annotated_for_it(overlay: str) -> None:
    prometheus = {"namespace": {"mainspring/access": "monitoring"}, "labels": {}}
    scraped = {}
    for one in rendered(overlay):
        if one["kind"] in ("Deployment", "StatefulSet"):
            told = one["spec"]["template"]["metadata"].get("annotations", {})
            if told.get("prometheus.io/scrape") == "true":
                name, port = one["metadata"]["name"], int(told["prometheus.io/port"])
                scraped[name] = port
                assert lets(overlay, pod(overlay, name), prometheus, port, "ingress"), name
    assert scraped == {"mainspring-control": 7700, "mainspring-worker": 7708, "mainspring-serving": 7701}
