"""The notebooks of `docs/notebooks` run from the first cell to the last, in the environment that a workspace has (that needs pip's index),
and their cells in this one.

One asks an endpoint: a training of a fiftieth of the flights, served.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "serving" / "tests"))

import serving_world  # noqa: E402
from serving_bundles import Home  # noqa: E402

from mainspring.core import projects, settings  # noqa: E402
from mainspring.core.client.serving import ServingClient  # noqa: E402
from mainspring.core.contracts.deployment import TrafficTable  # noqa: E402
from mainspring.core.tabular import trial  # noqa: E402
from mainspring.platform.notebooks import environment  # noqa: E402

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
#: Those that ask an endpoint.
ASKING = {"3-asking"}
RUN = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(notebook)
nbclient.NotebookClient(notebook, timeout=400, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an environment in `env` over JupyterLab's packages in `packages`."""
    home = tmp_path_factory.mktemp("workspace")
    environment.made(home / "env", environment.installed(home / "packages"))
    return home


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[settings.Settings]:
    """Of a machine where endpoint `flight-delay` is served."""
    folder = tmp_path_factory.mktemp("served")
    project = projects.load_project("flight-delay")
    done = trial.run(project, folder / "work", sample_fraction=0.02, epochs=1, gated=False)
    store = Home(folder)
    digest = store.write(
        name="flight-delay",
        # Rows are whole: nothing is looked up or derived for them.
        project="plain-project",
        plan=done.plan.to_bytes(),
        input_columns=done.plan.inputs,
        model=dict(done.candidate.model),
        weights=done.candidate.data,
    )
    (folder / "serving").mkdir()
    with serving_world.serve(folder / "serving", loaded_by=store.loader) as running:
        token = running.tokens.token_of("service@local")
        with ServingClient(running.url, token=token) as client:
            client.load_bundle(digest)
            client.set_traffic(TrafficTable(endpoint="flight-delay", version=1, stable=digest))
        variables = {
            "MAINSPRING_SERVING_PORT": running.url.rpartition(":")[2],
            "MAINSPRING_CONTROL_TOKENS_FILE": str(folder / "serving" / "tokens.json"),
        }
        yield settings.load(variables, directory=folder)


def in_a_workspace(test: Callable[..., None]) -> Callable[..., None]:
    """JupyterLab's packages are installed by pip, from its index."""
    return pytest.mark.soak(pytest.mark.timeout(600)(test))


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    """Those of code."""
    found: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def run(
    home: Path, notebook: Path, into: Path, s: settings.Settings | None = None
) -> subprocess.CompletedProcess[str]:
    (base,) = [path for path in (home / "packages").iterdir() if path.is_dir()]
    told = settings.child_environment(
        s or settings.load({}, directory=home), environment.variables(base, home / "runtime")
    )
    return subprocess.run(
        [home / "env" / "bin" / "python", "-c", RUN, notebook, into],
        cwd=home, env=told, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_its_cells_run_one_after_the_other(
    notebook: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Without Jupyter, whose packages come over the network: the same cells, in one interpreter."""
    s = (
        request.getfixturevalue("served")
        if notebook.stem in ASKING
        else settings.load({}, directory=tmp_path)
    )
    code = ["".join(cell["source"]) for cell in cells_of(notebook)]
    assert len(code) >= 3 and not any(
        line.startswith(("%", "!")) for text in code for line in text.splitlines()
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=tmp_path, env=settings.child_environment(s, {}), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@in_a_workspace
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs(home: Path, notebook: Path, request: pytest.FixtureRequest) -> None:
    s = request.getfixturevalue("served") if notebook.stem in ASKING else None
    stored = json.loads(notebook.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in stored), (
        "outputs are not stored: they are of one machine and day"
    )
    done = run(home, notebook, home / notebook.name, s)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = cells_of(home / notebook.name)
    assert all(cell["execution_count"] for cell in cells) and cells[-1]["outputs"]


@in_a_workspace
def test_one_that_fails_is_seen(home: Path) -> None:
    broken = json.loads(NOTEBOOKS[0].read_text())
    broken["cells"] = [cell | {"source": ["1 / 0"]} for cell in cells_of(NOTEBOOKS[0])][:1]
    (home / "broken.ipynb").write_text(json.dumps(broken))
    done = run(home, home / "broken.ipynb", home / "out.ipynb")
    assert done.returncode != 0 and "ZeroDivisionError" in done.stderr
