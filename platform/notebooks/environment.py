"""Where a workspace's packages are: JupyterLab's in one folder for all, those that somebody adds in one of its own.

JupyterLab is no dependency of ours: `requirements.txt` pins it with what it needs beside our lock. It is installed once for each
content of that file. A workspace gets an environment that is made in a tenth of a second: its own packages first, then
JupyterLab's, then those of this installation, which nobody can change from there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from mainspring.core import canonical, durable, errors

__all__ = ["PINS", "installed", "made", "variables"]

PINS: Final = Path(__file__).parent / "requirements.txt"
_INSTALL_SECONDS: Final = 900.0
_DONE: Final = "installed"


def installed(folder: Path, progress: Callable[[str], None] = lambda line: None, pins: Path = PINS) -> Path:
    """The folder below `folder` that has the pinned packages, installed now if they are not; whole, or not there.

    Errors: MissingTool with the end of what pip says.
    """
    target = folder / canonical.digest(pins.read_text(encoding="utf-8")).removeprefix("sha256:")[:16]
    lock = durable.hold_folder(folder)
    try:
        if (target / _DONE).exists():
            return target
        progress("installing JupyterLab, once for this machine")
        shutil.rmtree(target, ignore_errors=True)
        _pip(target, pins)
        durable.replace_file(target / _DONE, "")
    finally:
        os.close(lock)
    return target


def _pip(target: Path, pins: Path) -> None:
    # Beside what is here, whose versions stand: the pins were resolved with our lock as constraints.
    words = [
        "install",
        "--disable-pip-version-check",
        "--no-deps",
        "--quiet",
        "--prefix",
        str(target),
        "--ignore-installed",
    ]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words, "--requirement", str(pins)],
            capture_output=True, text=True, timeout=_INSTALL_SECONDS, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        why = "" if done.returncode == 0 else "; ".join(done.stderr.strip().splitlines()[-3:])
    except subprocess.TimeoutExpired:
        why = f"it took more than {_INSTALL_SECONDS:.0f} s"
    if why:
        shutil.rmtree(target, ignore_errors=True)
        raise errors.MissingTool(
            f"JupyterLab could not be installed: {why}; see that pip reaches its index",
            tool="jupyterlab",
            fix=f"{Path(sys.executable).name} -m pip download --no-deps --requirement {pins}",
        )


def made(folder: Path, base: Path) -> Path:
    """A fresh environment in `folder` over `base` (of :func:`installed`); its interpreter."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    own = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    # One line each, added behind the environment's own packages, and a program line: .pth files of ours are followed, too.
    lines = [
        f"import site; site.addsitedir({str(path)!r})"
        for path in (_packages(base), Path(sysconfig.get_path("purelib")))
    ]
    (own / "platform.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "bin" / "python"


def _packages(base: Path) -> Path:
    return base / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"


def variables(base: Path, runtime: Path) -> Mapping[str, str]:
    """What JupyterLab must be told: where its pages and kernels are, and that everything else it keeps goes with `runtime`."""
    return {
        "JUPYTERLAB_DIR": str(base / "share" / "jupyter" / "lab"),
        "JUPYTER_PATH": str(base / "share" / "jupyter"),
        "JUPYTER_CONFIG_PATH": str(base / "etc" / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(runtime / "config"),
        "JUPYTER_DATA_DIR": str(runtime / "data"),
        "JUPYTER_RUNTIME_DIR": str(runtime / "run"),
        "JUPYTERLAB_SETTINGS_DIR": str(runtime / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(runtime / "workspaces"),
        "IPYTHONDIR": str(runtime / "ipython"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
