"""tools/same_wheel.py finds every difference that an installer would see, and only those."""

from __future__ import annotations

import pathlib
import runpy
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

# Not resolve(): under Bazel the files are links out of the sandbox.
ROOT = pathlib.Path(__file__).absolute().parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "same_wheel.py"))
BASE = {
    "mainspring/core/errors.py": "class NotFound(Exception): ...\n",
    "mainspring/native/_native.so": "machine code of one builder",
    "mainspring-0.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mainspring\nVersion: 0.1.0\n"
    "Requires-Dist: numpy<3,>=2.4\nRequires-Dist: ray[train,data]>=2.60; extra == 'training'\n",
    "mainspring-0.1.0.dist-info/entry_points.txt": "[console_scripts]\nmainspring = mainspring.cli:main\n",
    "mainspring-0.1.0.dist-info/RECORD": "of one builder",
}

Compare = Callable[[dict[str, str | None]], int]


@pytest.fixture
def compare(tmp_path: pathlib.Path) -> Compare:
    """Compares the base wheel with one in which some members are changed (None: left out)."""

    def wheel(name: str, members: dict[str, Any]) -> str:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, text in members.items():
                if text is not None:
                    archive.writestr(member, text)
        return str(tmp_path / name)

    def run(changes: dict[str, str | None]) -> int:
        code: int = TOOL["main"]([wheel("a.whl", BASE), wheel("b.whl", {**BASE, **changes})])
        return code

    return run


def test_equal_but_for_what_is_the_builders_own(compare: Compare) -> None:
    assert (
        compare(
            {
                "mainspring/native/_native.so": None,
                "mainspring/native/_native.cpython-311-x86_64-linux-gnu.so": "other machine code",
                "mainspring-0.1.0.dist-info/RECORD": "of the other",
                "mainspring-0.1.0.dist-info/METADATA": "Metadata-Version: 2.4\nName: mainspring\nVersion: 0.1.0\n"
                'Requires-Dist: ray[data,train]>=2.60; extra == "training"\nRequires-Dist: numpy>=2.4,<3\n',
            }
        )
        == 0
    )


@pytest.mark.parametrize(
    ("member", "text", "said"),
    [
        (
            "mainspring/core/errors.py",
            "class NotFound(Exception): pass\n",
            "differs: mainspring/core/errors.py",
        ),
        ("mainspring/core/errors.py", None, "only in the first: mainspring/core/errors.py"),
        ("mainspring/core/more.py", "", "only in the second: mainspring/core/more.py"),
        ("mainspring/native/_native.so", None, "only in the first: mainspring/native/_native.so"),
        (
            "mainspring-0.1.0.dist-info/METADATA",
            BASE["mainspring-0.1.0.dist-info/METADATA"].replace(">=2.4", ">=2.5"),
            "only in the second: [metadata] Requires-Dist: numpy",
        ),
        (
            "mainspring-0.1.0.dist-info/METADATA",
            BASE["mainspring-0.1.0.dist-info/METADATA"].replace("Version: 0.1.0", "Version: 0.1.1"),
            "only in the second: [metadata] Version: 0.1.1",
        ),
        (
            "mainspring-0.1.0.dist-info/entry_points.txt",
            "[console_scripts]\nmainspring = mainspring.other:main\n",
            "differs: [entry point] console_scripts: mainspring",
        ),
    ],
)
def test_difference_is_named(
    compare: Compare, capsys: pytest.CaptureFixture[str], member: str, text: str | None, said: str
) -> None:
    assert compare({member: text}) == 1
    assert said in capsys.readouterr().out
