"""The notebooks of `docs/notebooks` run from the first cell to the last, in the environment that a workspace has. Needs pip's index."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mainspring.core import settings
from mainspring.platform.notebooks import environment

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
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


def run(home: Path, notebook: Path, into: Path) -> subprocess.CompletedProcess[str]:
    (base,) = [path for path in (home / "packages").iterdir() if path.is_dir()]
    told = settings.child_environment(
        settings.load({}, directory=home), environment.variables(base, home / "runtime")
    )
    return subprocess.run(
        [home / "env" / "bin" / "python", "-c", RUN, notebook, into],
        cwd=home, env=told, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs(home: Path, notebook: Path) -> None:
    stored = json.loads(notebook.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in stored), (
        "outputs are not stored: they are of one machine and day"
    )
    done = run(home, notebook, home / notebook.name)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [
        cell
        for cell in json.loads((home / notebook.name).read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    assert all(cell["execution_count"] for cell in cells) and cells[-1]["outputs"]


def test_one_that_fails_is_seen(home: Path) -> None:
    broken = json.loads(NOTEBOOKS[0].read_text())
    broken["cells"] = [
        cell | {"source": ["1 / 0"]} for cell in broken["cells"] if cell["cell_type"] == "code"
    ][:1]
    (home / "broken.ipynb").write_text(json.dumps(broken))
    done = run(home, home / "broken.ipynb", home / "out.ipynb")
    assert done.returncode != 0 and "ZeroDivisionError" in done.stderr
