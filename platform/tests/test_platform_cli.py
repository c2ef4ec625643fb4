"""The command line: light to import, one line per error, exit codes that scripts can trust."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click import shell_completion

from mainspring.core import errors, identity, settings
from mainspring.platform.cli import doctor, main, output

HEAVY = ("torch", "ray", "mlflow", "litestar", "temporalio", "polars", "sqlalchemy", "numpy")


def mainspring(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    command = [sys.executable, "-m", "mainspring.platform.cli.main", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment, "MAINSPRING_CONTROL_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mainspring.platform.cli.main import cli\n"
        "try: cli(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "project" in done.stdout and done.stderr.strip() == "[]", done.stderr


def test_version(tmp_path: Path) -> None:
    done = mainspring(tmp_path, "version", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["schema"] == "mainspring.cli/v1"


def test_no_token_file_is_misconfigured(tmp_path: Path) -> None:
    done = mainspring(tmp_path, "project", "list")
    assert (done.returncode, done.stdout) == (78, "") and done.stderr.startswith("error: no token file")


def test_nobody_there_fails_in_one_line(tmp_path: Path) -> None:
    identity.ensure_token_file(settings.load({}, directory=tmp_path).control.tokens_file)
    done = mainspring(tmp_path, "project", "list", "--json")
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert json.loads(done.stdout)["error"]["code"] == "dependency_down"


def test_usage_errors_leave_with_two(tmp_path: Path) -> None:
    assert mainspring(tmp_path, "project", "create").returncode == 2
    assert mainspring(tmp_path, "nonsense").returncode == 2
    empty = mainspring(tmp_path, "project", "create", "aa", "--owner", "")
    assert empty.returncode == 2 and empty.stderr.startswith("error: `owner`")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_shell_is_told_how_to_complete(tmp_path: Path, shell: str) -> None:
    done = mainspring(tmp_path, "completion", shell)
    assert done.returncode == 0 and "_MAINSPRING_COMPLETE" in done.stdout
    assert mainspring(tmp_path, "completion", "cmd").returncode == 2


def test_commands_and_options_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shell_completion.ShellComplete(main.cli, {}, "mainspring", "_MAINSPRING_COMPLETE")

    def completed(words: list[str], begun: str) -> list[str]:
        return [one.value for one in found.get_completions(words, begun)]

    assert completed(["endpoint"], "pro") == ["promote"]
    assert "--dry-run" in completed(["endpoint", "promote"], "--d")
    assert completed(["schedule", "put", "flight-delay"], "sk") == ["skew"]


ROWS = [{"name": "a" * 60, "owner": "\x1b[31m[bold]red\x07"}, {"name": "b"}]


def test_a_list_is_a_table_on_a_terminal_and_lines_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output.show(ROWS, as_json=False, columns=("name", "owner"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].startswith("a" * 60)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    output.show(ROWS, as_json=False, columns=("name", "owner"))
    shown = capsys.readouterr().out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert plain.count("a") >= 60 and max(map(len, plain.splitlines())) <= 40, "folded, not cut"
    for told in ("".join(lines), shown):
        assert "\x1b[31m" not in told and "\x07" not in told and "[bold]red" in told.replace("\n", "")
    output.show({"owner": "\x1b]0;title\x07"}, as_json=False)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("not_found", 1),
        ("policy_denied", 3),
        ("unauthenticated", 3),
        ("approval_required", 4),
        ("deadline_exceeded", 5),
        ("missing_tool", 78),
        ("broken", 1),
    ],
)
def test_exit_codes(code: str, expected: int) -> None:
    assert output.exit_code(errors.BY_CODE[code]("said")) == expected


def test_doctor_names_what_mends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.PACKAGES, "serving", ("no_such_package",))  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        s = settings.load({"MAINSPRING_CONTROL_PORT": port}, directory=tmp_path)
        found = {row["check"]: row for row in doctor.examine(s)}
    assert found["python"]["ok"] == "yes" and found["python"]["fix"] == ""
    assert found["compiler"]["fix"] == "apt-get install g++"
    assert "MAINSPRING_CONTROL_PORT" in found["control.port"]["fix"]
    assert found["extra serving"]["fix"] == "pip install 'mainspring[serving]'"
