"""The manifests of every environment: what Kubernetes' own schemas and our processes' settings say of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests import DEPLOY, OVERLAYS, ROOT, Pod, environment, of_kind, pod, pods, rendered

from mainspring.core import settings
from mainspring.platform.health import routes
from mainspring.serving.http import probes

#: Kinds of others' operators, whose schemas are in no registry that we can ask.
THEIRS = {"RayCluster", "RayService", "ServingRuntime", "InferenceService", "Application"}
KUBERNETES = "1.33"

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)


@everywhere
def test_kubernetes_knows_every_field(overlay: str) -> None:
    checked = 0
    for one in rendered(overlay):
        if one["kind"] not in THEIRS:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
            checked += 1
    assert checked > 20


@everywhere
def test_pod_templates_of_operators_are_pods(overlay: str) -> None:
    """Their own fields nobody checks here; the pods in them are Kubernetes'."""
    checked = 0
    for p in pods(overlay):
        if p.name.startswith(("mainspring-ray", "mainspring-bundles")):
            one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": p.spec}
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
            checked += 1
    assert checked == 3 + 2 * len(of_kind(overlay, "RayService"))


def test_a_mistyped_field_is_found() -> None:
    one = of_kind("dev", "Deployment")["mainspring-worker"]
    wrong = yaml.safe_load(yaml.safe_dump(one).replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


@everywhere
def test_every_pod_keeps_to_the_restricted_standard(overlay: str) -> None:
    seen = 0
    for p in pods(overlay):
        inherited = p.spec.get("securityContext", {})
        for container in p.containers:
            where, own = f"{p.name}/{container['name']}", container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, where
            assert own["capabilities"] == {"drop": ["ALL"]}, where
            assert own["readOnlyRootFilesystem"] is True, where
            assert {**inherited, **own}["runAsNonRoot"] is True, where
            assert {**inherited, **own}["seccompProfile"] == {"type": "RuntimeDefault"}, where
            assert "memory" in container["resources"]["limits"], where
            assert container["image"].startswith("registry.example.com/mainspring:"), where
            seen += 1
        heads = ("mainspring-ray-head", "mainspring-bundles-head")  # their autoscalers ask Kubernetes
        assert p.name in (*heads, "mainspring") or not p.spec["automountServiceAccountToken"]
        assert not any(p.spec.get(k) for k in ("hostNetwork", "hostPID", "hostIPC"))
        assert not any("hostPath" in volume for volume in p.spec.get("volumes", ()))
    assert seen >= 13


@everywhere
def test_nothing_secret_is_written_down(overlay: str) -> None:
    assert not of_kind(overlay, "Secret"), "secrets are made where they are kept; manifests name them"
    for p in pods(overlay):
        for container in p.containers:
            for variable in container.get("env", ()):
                if any(word in variable["name"] for word in ("PASSWORD", "DATABASE_URL", "MIGRATION_URL")):
                    assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def in_force(overlay: str, container: dict[str, Any], tmp_path: Path) -> settings.Settings:
    values = {
        "<url>": "postgresql+psycopg://app@db/mainspring",
        "<owner-url>": "postgresql+psycopg://owner@db/mainspring",
    }
    found = {name: values.get(value, value) for name, value in environment(overlay, container).items()}
    return settings.load(found, directory=tmp_path)


def ours(overlay: str) -> list[tuple[Pod, dict[str, Any]]]:
    """Containers that read our settings."""
    return [
        (p, c)
        for p in pods(overlay)
        for c in p.containers
        if any(name.startswith(settings.PREFIX) for name in environment(overlay, c))
    ]


@everywhere
def test_every_container_s_settings_are_ones(overlay: str, tmp_path: Path) -> None:
    names = [(p.name, c["name"]) for p, c in ours(overlay)]
    assert ("mainspring-control", "migrate") in names
    for p, container in ours(overlay):
        s = in_force(overlay, container, tmp_path)
        mounted = [m["mountPath"] for m in container["volumeMounts"]]
        needed = {
            "control": [s.control.tokens_file, s.stack.state_dir, s.workflow.payload_keys],
            "worker": [s.control.tokens_file, s.models.signing_key, s.ray.token_file, s.serving.bundle_dir],
            "serving": [
                s.serving.online_store,
                s.serving.bundle_dir,
                s.serving.trusted_keys_dir,
                s.serving.token_key,
            ],
            "ray": [s.ray.token_file, s.stack.state_dir],
        }.get(container["name"], [])
        for path in needed:
            assert any(path.is_relative_to(m) for m in mounted), f"{p.name}: {path} is on no volume"


#: What one workload writes and another reads: of a folder the same volume's, or the reader sees its own, which is empty.
MET = {
    "serving.bundle_dir": ("control", "worker", "serving"),
    "serving.trusted_keys_dir": ("control", "worker", "serving"),
    "serving.predictions_dir": ("worker", "serving"),
    "serving.reads_dir": ("worker", "serving"),
    "serving.pushes_dir": ("worker", "serving"),
    "protection.erased_dir": ("control", "worker", "serving"),
}


def place(container: dict[str, Any], path: Path) -> tuple[str, Path] | None:
    """On which of the pod's volumes a path is, and where there; None: on the image's own file system, which is read-only."""
    found = [m for m in container["volumeMounts"] if path.is_relative_to(m["mountPath"])]
    if not found:
        return None
    nearest = max(found, key=lambda m: len(m["mountPath"]))
    return nearest["name"], Path(nearest.get("subPath", "")) / path.relative_to(nearest["mountPath"])


@everywhere
def test_every_path_of_the_settings_is_on_a_volume(overlay: str, tmp_path: Path) -> None:
    checked = 0
    for p, container in ours(overlay):
        for group, fields in in_force(overlay, container, tmp_path):
            for name, value in fields:
                if isinstance(value, Path) and value != Path("/mnt/models"):  # KServe's own mount
                    assert place(container, value) is not None, f"{p.name}: {group}.{name} is {value}"
                    checked += 1
    assert checked > 150


@everywhere
def test_what_workloads_tell_one_another_by_files_is_one_folder(overlay: str, tmp_path: Path) -> None:
    def of(workload: str, key: str) -> tuple[str, Path] | None:
        container = pod(overlay, f"mainspring-{workload}").spec["containers"][0]
        group, _, name = key.partition(".")
        return place(container, getattr(getattr(in_force(overlay, container, tmp_path), group), name))

    for key, workloads in MET.items():
        places = {workload: of(workload, key) for workload in workloads}
        assert len(set(places.values())) == 1, f"{key}: {places}"
        assert {found[0] for found in places.values() if found} == {"shared"}, f"{key}: {places}"


@everywhere
def test_keys_that_are_needed_are_the_ones_that_are_mounted(overlay: str, tmp_path: Path) -> None:
    for name in ("control", "worker", "serving"):
        p = pod(overlay, f"mainspring-{name}")
        keys = next(v for v in p.spec["volumes"] if v["name"] == "secret")["secret"]["items"]
        there = {Path("/run/mainspring/keys") / item["path"] for item in keys}
        s = in_force(overlay, p.spec["containers"][0], tmp_path)
        wanted = {
            "control": {s.control.tokens_file, s.workflow.payload_keys, s.protection.subjects_key},
            "worker": {
                *(s.control.tokens_file, s.workflow.payload_keys, s.models.signing_key),
                *(s.ray.token_file, s.serving.token_key, s.protection.subjects_key),
            },
            "serving": {s.control.tokens_file, s.serving.token_key, s.protection.subjects_key},
        }[name]
        assert there == wanted, f"{name}: not fewer, and not more than it needs"


@everywhere
def test_whom_they_ask_is_a_service_that_listens_there(overlay: str, tmp_path: Path) -> None:
    services = of_kind(overlay, "Service")

    def listens(url: str) -> bool:
        host, _, port = url.rpartition("//")[2].rpartition(":")
        return any(p["port"] == int(port) for p in services[host]["spec"]["ports"])

    worker = in_force(overlay, pod(overlay, "mainspring-worker").spec["containers"][0], tmp_path)
    assert listens(worker.control_url)
    assert listens(worker.serving_url)
    assert listens(worker.tracking.uri)
    serving = in_force(overlay, pod(overlay, "mainspring-serving").spec["containers"][0], tmp_path)
    assert listens(serving.control_url)
    ray = of_kind(overlay, "RayCluster")["mainspring-ray"]
    assert worker.ray.dashboard_url == f"http://{ray['metadata']['name']}-head-svc:8265", "KubeRay's own name"


@everywhere
def test_services_find_pods_and_their_ports(overlay: str) -> None:
    for name, service in of_kind(overlay, "Service").items():
        chosen = [p for p in pods(overlay) if service["spec"]["selector"].items() <= p.labels.items()]
        assert len(chosen) == 1, name
        named = {p["name"]: p["containerPort"] for c in chosen[0].spec["containers"] for p in c["ports"]}
        for port in service["spec"]["ports"]:
            assert named[port["targetPort"]] == port["port"], name


@everywhere
def test_probes_ask_routes_that_are_there(overlay: str) -> None:
    control = {path for handler in routes.HANDLERS for path in handler.paths}

    def is_served(path: str) -> bool:
        return probes.is_probe({"type": "http", "method": "GET", "path": path})

    known = {"control": control.__contains__, "serving": is_served, "kserve-container": is_served}
    asked = 0
    for p in pods(overlay):
        for container in p.spec["containers"]:
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                get = container.get(kind, {}).get("httpGet")
                if get and container["name"] in known:
                    assert known[container["name"]](get["path"]), f"{p.name}: {kind}"
                    asked += 1
                if (check := container.get(kind, {}).get("exec")) and container["name"] == "worker":
                    assert check["command"][-1] == container["command"][-1], "the file that the worker writes"
                    asked += 1
    assert asked >= 8


@everywhere
def test_ports_are_those_that_the_settings_say(overlay: str, tmp_path: Path) -> None:
    for name, wanted in (("control", ("control.port",)), ("serving", ("serving.port", "serving.grpc_port"))):
        container = pod(overlay, f"mainspring-{name}").spec["containers"][0]
        s = in_force(overlay, container, tmp_path)
        listed = {p["containerPort"] for p in container["ports"]}
        assert listed == {getattr(getattr(s, key.split(".")[0]), key.split(".")[1]) for key in wanted}
        assert getattr(s, name).host == "0.0.0.0"
    container = pod(overlay, "mainspring-worker").spec["containers"][0]
    (port,) = [p["containerPort"] for p in container["ports"]]
    assert in_force(overlay, container, tmp_path).telemetry.worker_metrics == f"0.0.0.0:{port}"


@pytest.mark.parametrize(("overlay", "share"), [("dev", 1.0), ("staging", 1.0), ("prod", 0.05)])
def test_every_process_tells_of_itself_as_the_environment_says(
    overlay: str, share: float, tmp_path: Path
) -> None:
    told = {p.name: in_force(overlay, c, tmp_path).telemetry for p, c in ours(overlay) if p.labels}
    assert len(told) == 6 + 2 * len(of_kind(overlay, "RayService"))
    for name, one in told.items():
        assert one.trace_endpoint.startswith("http://") and one.trace_share == share, name
        assert one.logs == "json", name


def test_spot_nodes_take_only_what_tolerates_them() -> None:
    tolerant = [p.name for p in pods("prod") if p.spec.get("tolerations")]
    assert tolerant == ["mainspring-ray-spot"]
    terraform = (DEPLOY / "terraform" / "cluster" / "main.tf").read_text()
    toleration = pod("prod", "mainspring-ray-spot").spec["tolerations"][0]
    assert f'key    = "{toleration["key"]}"' in terraform
    assert '"mainspring/capacity"' in terraform


def test_ray_is_the_one_of_the_image() -> None:
    lock = (ROOT / "requirements_lock.txt").read_text()
    for overlay in OVERLAYS:
        clusters = [one["spec"] for one in of_kind(overlay, "RayCluster").values()]
        clusters += [one["spec"]["rayClusterConfig"] for one in of_kind(overlay, "RayService").values()]
        for cluster in clusters:
            assert f"\nray=={cluster['rayVersion']}\n" in lock


def test_roles_are_of_accounts_that_there_are() -> None:
    accounts = set(of_kind("prod", "ServiceAccount"))
    assert accounts == {f"mainspring-{n}" for n in ("control", "worker", "serving", "mlflow", "ray")}
    used = {p.spec.get("serviceAccountName") for p in pods("prod")} - {None}
    assert used == accounts
    identity = (DEPLOY / "terraform" / "identity" / "main.tf").read_text()
    for account in accounts:
        assert f"    {account.removeprefix('mainspring-')} " in identity, "a role in Terraform"


def test_argo_s_application_names_an_overlay() -> None:
    spec = yaml.safe_load((DEPLOY / "argocd" / "application.yaml").read_text())["spec"]
    assert (ROOT / spec["source"]["path"] / "kustomization.yaml").is_file()
    namespace = of_kind("prod", "Namespace")
    assert list(namespace) == [spec["destination"]["namespace"]]


def test_the_image_s_files_are_in_the_repository() -> None:
    text = (DEPLOY / "container" / "Containerfile").read_text()
    sources = [
        line.split()[1] for line in text.splitlines() if line.startswith("COPY") and "--from" not in line
    ]
    made = [source for source in sources if source.startswith("dist/")]
    assert made == ["dist/mainspring-*.whl"], "`make wheel` puts it there"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(sources) - set(made) <= set(tracked.splitlines())
    uid = f"--uid {pod('prod', 'mainspring-control').spec['securityContext']['runAsUser']} "
    assert uid in text, "the pods' user is the image's"
