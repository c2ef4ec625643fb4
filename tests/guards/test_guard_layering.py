"""The doors open one way: native <- core <- {serving, workflows, platform} <- bench, and nothing goes round."""

from pathlib import Path

import pytest
import source_tree

ALLOWED = {
    "native": {"native"},
    "core": {"core", "native"},
    "serving": {"serving", "core", "native"},
    "workflows": {"workflows", "core", "native"},
    "platform": {"platform", "core", "native"},
    "bench": set(source_tree.ROOMS),
}

#: Heavy packages and the only files (or folders, ending in /) that may import them, even inside a function.
ADAPTERS = {
    # feast_store/ holds the plug-ins: Feast loads them by name, and they subclass its stores.
    "feast": (
        "core/features/feast_adapter.py",
        "core/features/feast_store/",
        "bench/features/",  # Feast with its own stores is the peer
        "core/reference/flight_delay/views.py",
    ),
    "mlflow": ("core/models/mlflow_adapter.py",),
    "evidently": ("core/monitoring/evidently_adapter.py",),
    "openlineage": ("core/lineage/openlineage_adapter.py",),
    "ray": ("workflows/ray_jobs/", "serving/ray_serve/", "bench/serving/peers/apps/"),
    "torch": ("core/models/", "serving/runtimes/", "workflows/ray_jobs/", "bench/"),
    "onnxruntime": ("core/models/onnx_runtime.py", "bench/"),
    "temporalio": ("core/client/", "workflows/", "platform/stack/", "bench/workflows/"),
    "litestar": ("platform/",),
    "confluent_kafka": ("core/features/streams/kafka.py", "bench/features/"),
    "obstore": ("core/features/objects.py",),
    "yaml": ("platform/gitops/document.py",),
    "cedarpy": ("platform/policies/engine.py", "bench/control_plane/decisions.py"),
    "joserfc": ("core/oidc.py",),
    "fsspec": ("core/features/object_files.py",),
    "fastavro": ("core/features/streams/decoding.py",),
    "opendp": ("core/protection/privacy.py",),
    "picklescan": ("core/supply/scanning.py",),
    "numba": ("core/features/streams/kernels.py", "bench/"),
    "fastapi": ("serving/", "bench/serving/"),
}

#: Pure rooms within core: the standard library, pydantic and each other only.
PURE = (
    "core/contracts/",
    "core/errors.py",
    "core/settings/",
    "core/ids.py",
    "core/canonical.py",
    "core/policy/",
    "core/cost/",
)


def wrong_edges(tree: dict[str, source_tree.Module]) -> list[str]:
    found = []
    for module in tree.values():
        for name in module.imports | module.late_only:
            parts = name.split(".")
            ours = parts[0] == "mainspring" and len(parts) > 1 and parts[1] in source_tree.ROOMS
            if ours and parts[1] not in ALLOWED[module.room]:
                found.append(f"{module.name} imports {name}")
    return sorted(found)


def stray_heavy_imports(tree: dict[str, source_tree.Module], root: Path = source_tree.ROOT) -> list[str]:
    found = []
    for module in tree.values():
        path = module.path.relative_to(root).as_posix()
        for name in module.imports:
            allowed = ADAPTERS.get(name.split(".")[0])
            if allowed is not None and not any(
                path == a or (a.endswith("/") and path.startswith(a)) for a in allowed
            ):
                found.append(f"{path} imports {name}")
    return sorted(found)


def test_doors_open_one_way() -> None:
    assert wrong_edges(source_tree.modules()) == []


def test_no_import_cycle() -> None:
    assert source_tree.cycles(source_tree.edges(source_tree.modules())) == []


def test_heavy_packages_stay_in_their_adapters() -> None:
    assert stray_heavy_imports(source_tree.modules()) == []


def test_pure_modules_know_only_pydantic() -> None:
    import sys

    found = []
    for module in source_tree.modules().values():
        path = module.path.relative_to(source_tree.ROOT).as_posix()
        if any(path == p or (p.endswith("/") and path.startswith(p)) for p in PURE):
            for name in module.imports:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in ("pydantic", "mainspring"):
                    found.append(f"{path} imports {name}")
    assert found == []


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    """A tree with one wrong edge, one cycle inside functions and one stray heavy import."""
    for room in source_tree.ROOMS:
        (tmp_path / room).mkdir()
    (tmp_path / "core" / "a.py").write_text("def f():\n    from mainspring.core import b\n")
    (tmp_path / "core" / "b.py").write_text(
        "import mainspring.core.a\nfrom mainspring.serving import plane\n"
    )
    (tmp_path / "serving" / "plane.py").write_text("def f():\n    import mlflow.tracking\n")
    return tmp_path


def test_the_guards_see_what_they_guard_against(seeded: Path) -> None:
    tree = source_tree.modules(seeded)
    assert wrong_edges(tree) == [
        "mainspring.core.b imports mainspring.serving",
        "mainspring.core.b imports mainspring.serving.plane",
    ]
    assert source_tree.cycles(source_tree.edges(tree)) == [["mainspring.core.a", "mainspring.core.b"]]
    assert stray_heavy_imports(tree, seeded) == ["serving/plane.py imports mlflow.tracking"]
