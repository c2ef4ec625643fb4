"""What a job wrote is kept whole or not at all: its end, without credentials, and no more than there is room for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainspring.core import errors, job_logs
from mainspring.core.contracts import run_logs


def test_a_part_of_a_log() -> None:
    text = "".join(f"line {i}\n" for i in range(10))
    assert job_logs.part(text, -1, 3) == (("line 7", "line 8", "line 9"), 7, 10)
    assert job_logs.part(text, 4, 2) == (("line 4", "line 5"), 4, 10)
    assert job_logs.part(text, 99, 2) == ((), 10, 10)
    assert job_logs.part("", -1, 5) == ((), 0, 0)
    long, first, total = job_logs.part("x" * 9000, -1, 5)
    assert (len(long[0]), first, total) == (job_logs.MAX_LINE_CHARACTERS, 0, 1)


def test_nothing_that_is_secret_or_moves_a_cursor_is_told() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIBVQIBADAN\nBgkqhkiG9w0\n-----END PRIVATE KEY-----"
    text = f"\x1b[36m(worker)\x1b[0m hello\a\nAuthorization: Bearer abcdef123456\npassword=hunter2\n{key}\nafter\n"
    lines, _, _ = job_logs.part(text, -1, 100)
    told = "\n".join(lines)
    assert lines[0] == "(worker) hello" and lines[-1] == "after"
    assert not any(
        word in told for word in ("abcdef123456", "hunter2", "MIIBVQIBADAN", "BgkqhkiG9w0", "\x1b")
    )


@pytest.fixture
def logs(tmp_path: Path) -> job_logs.JobLogs:
    return job_logs.JobLogs.of(tmp_path, "flight-delay")


def job(name: str, began: int | None = 1) -> run_logs.LogJob:
    at = None if began is None else datetime.fromtimestamp(began, UTC)
    return run_logs.LogJob(name=name, step="load", status="FAILED", started_at=at)


def test_what_is_kept_is_read_by_parts_and_in_the_order_of_its_jobs(logs: job_logs.JobLogs) -> None:
    assert logs.jobs("run_a") == ()
    logs.keep("run_a", job("run_a-later", None), "")
    logs.keep("run_a", job("run_a-1", 2), "one\ntoken=abcdefgh12345678\nthree\n")
    logs.keep("run_a", job("run_a-0", 1), "first\n")
    assert logs.jobs("run_a") == (job("run_a-0", 1), job("run_a-1", 2), job("run_a-later", None))
    assert logs.part("run_a", "run_a-1", -1, 2) == (("token=[redacted]", "three"), 1, 3)
    assert logs.part("run_a", "run_a-1", 0, 1) == (("one",), 0, 3)
    assert logs.part("run_a", "run_a-later", -1, 5) == ((), 0, 0)
    logs.keep("run_a", job("run_a-1", 2), "again\n")
    assert logs.part("run_a", "run_a-1", -1, 5) == (("again",), 0, 1)
    assert "abcdefgh" not in "".join(path.read_text() for path in logs.root.rglob("*.log"))


def test_of_a_long_log_the_end_is_kept_and_a_key_that_began_before_stays_hidden(
    logs: job_logs.JobLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "MAX_JOB_BYTES", 40)
    text = "before\n-----BEGIN PRIVATE KEY-----\nMIIB\nMIIC\n-----END PRIVATE KEY-----\nand the error\n"
    logs.keep("run_a", job("run_a-0"), text)
    lines, first, total = logs.part("run_a", "run_a-0", 0, 10)
    assert lines == ("[what the job wrote before is not kept]", job_logs.logs.HIDDEN, "and the error")
    assert (first, total) == (0, 3)
    logs.keep("run_a", job("run_a-0"), "the end of more\n", is_cut=True)
    assert logs.part("run_a", "run_a-0", 0, 10)[0] == (lines[0], "the end of more")


def test_a_run_has_so_much_room_and_the_oldest_go_first(
    logs: job_logs.JobLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.keep("run_a", job("run_a-0"), "x" * 400)
    size = next(logs.root.rglob("*.log")).stat().st_size
    monkeypatch.setattr(job_logs, "MAX_RUN_BYTES", 3 * size)
    for k in range(1, 5):
        logs.keep("run_a", job(f"run_a-{k}", k), "x" * 400)
    assert [one.name for one in logs.jobs("run_a")] == ["run_a-2", "run_a-3", "run_a-4"]
    logs.keep("run_a", job("run_a-4", 4), "y" * 400)
    assert len(logs.jobs("run_a")) == 3, "in its own place"
    logs.keep("run_b", job("run_b-0"), "another run's room is its own")
    assert len(logs.jobs("run_a")) == 3


def test_names_stay_names_and_what_is_no_kept_log_is_passed_over(
    logs: job_logs.JobLogs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs.keep("run_a", job("../../escapes"), "a\n")
    assert [path.parent.name for path in tmp_path.rglob("*.log")] == ["run_a"]
    assert logs.part("run_a", "../../escapes", -1, 5)[0] == ("a",)
    folder = logs.root / "run_a"
    (folder / "torn.log").write_text("")
    (folder / "newer.log").write_text('{"version": 2, "job": {}}\nline\n')
    (folder / "binary.log").write_bytes(b"\xff\xfe")
    (folder / "other.log").write_text('{"version": 1, "job": {"status": "FAILED"}}\n')
    assert [one.name for one in logs.jobs("run_a")] == ["../../escapes"]
    assert "is no kept log of a job" in caplog.text and "it has version 2" in caplog.text
    with pytest.raises(errors.NotFound, match="nothing is kept of job `x`"):
        logs.part("run_a", "x", -1, 5)
    for wrong in ("", "../run_a", "run/a"):
        with pytest.raises(errors.InvalidRequest, match="no id of a run"):
            logs.jobs(wrong)
    with pytest.raises(errors.InvalidRequest, match="project"):
        job_logs.JobLogs.of(tmp_path, "../other")
