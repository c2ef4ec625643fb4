"""`components/rayservice`: its manifest by KubeRay's and Ray's schemas, and what it deploys, on a real Ray."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bundle_answers
import httpx
import jsonschema
import kuberay
import numpy as np
import pytest
import yaml
from manifests import OVERLAYS, environment, of_kind, pod, rendered
from serving_process import free_port

NAME = "mainspring-bundles"
TOKEN = "0123456789abcdef" * 4


def service() -> dict[str, Any]:
    return of_kind("prod", "RayService")[NAME]


def serve_config() -> dict[str, Any]:
    written: dict[str, Any] = yaml.safe_load(service()["spec"]["serveConfigV2"])
    return written


def test_kuberay_knows_every_field() -> None:
    checked = set()
    for overlay in OVERLAYS:
        for one in rendered(overlay):
            if one["kind"] in kuberay.SCHEMAS:
                jsonschema.validate(one, kuberay.SCHEMAS[one["kind"]])
                checked.add((overlay, one["kind"]))
    assert checked == {(o, "RayCluster") for o in OVERLAYS} | {("prod", "RayService")}
    wrong = copy.deepcopy(service())
    wrong["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(wrong, kuberay.SCHEMAS["RayService"])


def test_what_it_serves_is_at_the_ports_and_on_the_nodes_of_the_manifest() -> None:
    config = serve_config()
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    worker = pod("prod", f"{NAME}-replicas")
    named = {p["name"]: p["containerPort"] for p in worker.spec["containers"][0]["ports"]}
    assert config["http_options"] == {"host": "0.0.0.0", "port": named["serve"]}
    (group,) = service()["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    cores = int(worker.spec["containers"][0]["resources"]["limits"]["cpu"])
    wanted = deployment["autoscaling_config"]["max_replicas"] * deployment["ray_actor_options"]["num_cpus"]
    assert group["maxReplicas"] * cores >= wanted, "the cluster grows as far as its replicas do"
    assert deployment["graceful_shutdown_timeout_s"] < worker.spec["terminationGracePeriodSeconds"]
    heads = environment("prod", pod("prod", f"{NAME}-head").spec["containers"][0])
    assert heads == environment("prod", worker.spec["containers"][0])


@contextlib.contextmanager
def head(tmp_path: Path, digest: str) -> Iterator[str]:
    """A Ray whose nodes have the manifest's environment, but for where things lie; its dashboard's address, as KubeRay asks it."""
    there = environment("prod", pod("prod", f"{NAME}-replicas").spec["containers"][0])
    name = there["MAINSPRING_SERVING_TENSOR_MODELS"].partition("=")[0]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    variables = {
        **there,
        "MAINSPRING_STACK_STATE_DIR": str(tmp_path / "state"),
        "MAINSPRING_SERVING_BUNDLE_DIR": str(tmp_path / "bundles"),
        "MAINSPRING_SERVING_TRUSTED_KEYS_DIR": str(tmp_path / "trusted"),
        "MAINSPRING_SERVING_TENSOR_MODELS": f"{name}={digest}",
        "MAINSPRING_TELEMETRY_TRACE_ENDPOINT": "",
        "RAY_AUTH_MODE": "token",  # as KubeRay gives them to its nodes by `authOptions`
        "RAY_AUTH_TOKEN": TOKEN,
    }
    dashboard = free_port()
    flags = ["--node-ip-address=127.0.0.1", "--num-cpus=3", "--disable-usage-stats", "--block"]
    flags += [f"--dashboard-port={dashboard}", f"--temp-dir=/tmp/ray-{dashboard}"]
    for flag in ("port", "dashboard-agent-listen-port", "ray-client-server-port", "metrics-export-port"):
        flags.append(f"--{flag}={free_port()}")
    with (tmp_path / "ray.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", *flags],
            env=kept | variables,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
        )
        try:
            yield f"http://127.0.0.1:{dashboard}/api/serve/applications/"
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def client() -> httpx.Client:
    return httpx.Client(headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=30)


def until(seconds: float, found: Callable[[], Any], log: Path) -> Any:
    """What is `found` at last; what is refused or away meanwhile is asked again."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            last = found()
        except httpx.HTTPError as error:
            last = error
        if last and not isinstance(last, Exception):
            return last
        time.sleep(0.3)
    raise AssertionError(f"{last!r}\n{log.read_text()[-3000:]}")


@pytest.mark.integration
@pytest.mark.soak
@pytest.mark.timeout(240)
def test_the_config_of_the_manifest_serves_a_signed_bundle_and_none_that_was_changed(tmp_path: Path) -> None:
    bundle = bundle_answers.SignedBundle(tmp_path)
    expected = bundle.answer()
    config = serve_config()
    config["http_options"]["port"] = free_port()
    log = tmp_path / "ray.log"
    with head(tmp_path, bundle.digest) as address, client() as kuberay_operator:
        put = lambda: kuberay_operator.put(address, json=config).raise_for_status()  # noqa: E731
        until(60, put, log)
        url = f"http://127.0.0.1:{config['http_options']['port']}"

        def application() -> dict[str, Any]:
            found: dict[str, Any] = kuberay_operator.get(address).raise_for_status().json()["applications"]
            return found.get("bundles", {})

        until(90, lambda: application().get("status") == "RUNNING", log)
        asked, incomplete = bundle_answers.ASKED, bundle_answers.INCOMPLETE
        answer = httpx.post(f"{url}/v2/models/example/infer", json=asked, trust_env=False, timeout=30).json()
        assert answer["model_version"] == bundle.digest
        assert np.array_equal(np.float32(answer["outputs"][0]["data"]), expected), (
            "the bundle's own, bit for bit"
        )
        for path in ("/v2/health/ready", "/metrics"):
            assert httpx.get(url + path, trust_env=False, timeout=30).status_code == 200
        assert (
            httpx.post(f"{url}/v2/models/example/infer", json=incomplete, trust_env=False).status_code == 400
        )

        bundle.change()
        kuberay_operator.delete(address).raise_for_status()
        until(60, lambda: not application(), log)
        put()
        until(90, lambda: application().get("status") == "DEPLOY_FAILED", log)
        said = str(application())
        assert "tensor model `example` needs bundle" in said and "damaged" in said, said
        assert httpx.post(f"{url}/v2/models/example/infer", json=asked, trust_env=False).status_code >= 400
