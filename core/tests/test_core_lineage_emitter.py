"""A lineage store that is down, slow or refusing never fails a job; nothing is lost that fits the spool."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from mainspring.core import errors, settings
from mainspring.core.lineage import emitter, jobs, spool

RUN = jobs.JobRun("flights", "join", "run_1")


class Store:
    """What a store does with each event."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.asked = 0
        self.error: errors.MainspringError | None = None

    def __call__(self, event: bytes) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.taken.append(event)


class World:
    def __init__(self, directory: Path, *, max_bytes: int = 10_000) -> None:
        self.store = Store()
        self.spool, self.refused = directory / "deep" / "spool", directory / "refused"
        self.emitter = emitter.Emitter(
            self.store,
            spool.Lines(self.spool, max_bytes=max_bytes),
            spool.Lines(self.refused, max_bytes=max_bytes),
        )

    def spooled(self) -> list[bytes]:
        return self.spool.read_bytes().splitlines() if self.spool.exists() else []


DOWN = errors.DependencyDown("nobody there", name="lineage")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(emitter.time, "monotonic", lambda: now[0])
    return now


def test_what_a_store_that_is_down_missed_comes_first_later(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    world.emitter.emit(b"1")
    world.store.error = DOWN
    for event in (b"2", b"3", b"4"):
        world.emitter.emit(event)
    assert world.store.asked == 2  # one failure, then straight to the spool
    assert (world.store.taken, world.spooled()) == ([b"1"], [b"2", b"3", b"4"])
    clock[0] += emitter.PAUSE_SECONDS - 1
    world.store.error = None
    world.emitter.emit(b"5")
    assert world.store.taken == [b"1"]
    clock[0] += 1
    world.emitter.emit(b"6")
    assert world.store.taken == [b"1", b"2", b"3", b"4", b"5", b"6"] and world.spooled() == []


def test_a_store_that_fails_in_the_middle_of_the_spool_leaves_the_rest_in_order(
    tmp_path: Path, clock: list[float]
) -> None:
    world = World(tmp_path)
    world.store.error = DOWN
    for event in (b"1", b"2", b"3"):
        world.emitter.emit(event)
    clock[0] += emitter.PAUSE_SECONDS
    world.store.error = None
    first = world.store.__call__

    def once(event: bytes) -> None:
        if world.store.taken:
            raise DOWN
        first(event)

    world.emitter._send = once
    world.emitter.emit(b"4")
    assert (world.store.taken, world.spooled()) == ([b"1"], [b"2", b"3", b"4"])


def test_a_long_spool_does_not_hold_up_a_job(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    world.store.error = DOWN
    for i in range(5):
        world.emitter.emit(b"%d" % i)
    clock[0] += emitter.PAUSE_SECONDS
    world.store.error = None

    def slow(event: bytes) -> None:
        clock[0] += 2.0
        world.store(event)

    world.emitter._send = slow
    world.emitter.emit(b"5")
    assert len(world.store.taken) == 3 and world.spooled() == [b"3", b"4", b"5"]
    world.emitter.emit(b"6")
    assert world.store.taken == [b"%d" % i for i in range(7)] and world.spooled() == []


def test_what_the_store_refuses_is_kept_aside_and_blocks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    world.store.error = errors.InvalidRequest("no event", field="run")
    world.emitter.emit(b"bad")
    world.store.error = None
    world.emitter.emit(b"good")
    assert world.store.taken == [b"good"] and world.refused.read_bytes() == b"bad\n"
    assert "refuses an event" in caplog.text


def test_a_full_spool_and_a_refusing_disk_are_logged_and_not_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, max_bytes=10)
    world.store.error = DOWN
    for _ in range(3):
        world.emitter.emit(b"12345678")
    assert world.spooled() == [b"12345678"] and "spool is full" in caplog.text
    (tmp_path / "file").write_text("")
    blocked = emitter.Emitter(
        world.store,
        spool.Lines(tmp_path / "file" / "spool", max_bytes=10),
        spool.Lines(tmp_path / "refused", max_bytes=10),
    )
    blocked.emit(b"1")
    assert "an event of lineage is lost" in caplog.text


def test_a_line_that_a_crash_tore_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    path.write_bytes(b"1\n2\n3 and th")
    seen: list[bytes] = []
    assert spool.Lines(path, max_bytes=100).take(lambda line: not seen.append(line)) == 2
    assert seen == [b"1", b"2"] and path.read_bytes() == b""


def test_processes_that_share_a_spool_lose_and_repeat_nothing(tmp_path: Path) -> None:
    lines = spool.Lines(tmp_path / "spool", max_bytes=10**6)
    taken: list[bytes] = []

    def write(k: int) -> None:
        for i in range(50):
            spool.Lines(tmp_path / "spool", max_bytes=10**6).append(b"%d.%d" % (k, i))
            if i % 7 == 0:
                lines.take(lambda line: not taken.append(line))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.take(lambda line: not taken.append(line))
    assert sorted(taken) == sorted(b"%d.%d" % (k, i) for k in range(4) for i in range(50))


def test_a_job_tells_its_start_and_its_end_or_its_failure(tmp_path: Path) -> None:
    world = World(tmp_path)
    with emitter.telling(world.emitter, RUN) as told:
        told.reads.append(jobs.Dataset("a", "1", "table"))
        told.makes.append(jobs.Dataset("b", "2", "table"))
    with pytest.raises(errors.DataInvalid), emitter.telling(world.emitter, RUN):
        raise errors.DataInvalid("nothing in it", dataset="a", failed=("rows",))
    events = [json.loads(e) for e in world.store.taken]
    assert [e["eventType"] for e in events] == ["START", "COMPLETE", "START", "FAIL"]
    assert (events[1]["inputs"][0]["name"], events[1]["outputs"][0]["name"]) == ("a", "b")
    assert events[3]["run"]["facets"]["errorMessage"]["message"] == "nothing in it"
    assert len({e["run"]["runId"] for e in events}) == 1
    with emitter.telling(None, RUN) as told:
        assert told.reads == []


def http_store(answer: Any) -> emitter.Send:
    return emitter.http("http://store", "tok", timeout_seconds=1, transport=httpx.MockTransport(answer))


def test_over_http_answers_say_whether_to_try_again() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={})

    http_store(answer)(b"{}")
    assert str(seen[0].url) == "http://store/api/v1/lineage"
    assert seen[0].headers["authorization"] == "Bearer tok" and seen[0].content == b"{}"
    kinds = {400: errors.Rejected, 413: errors.Rejected, 422: errors.Rejected}
    kinds |= dict.fromkeys((401, 403, 429, 500, 503), errors.Unavailable)
    for status, kind in kinds.items():
        with pytest.raises(kind):
            http_store(lambda _, s=status: httpx.Response(s, text="no"))(b"{}")

    def dead(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(errors.DependencyDown, match="no lineage store at `http://store`"):
        http_store(dead)(b"{}")


def test_settings_choose_the_transport(tmp_path: Path) -> None:
    def made(**fields: Any) -> emitter.Emitter:
        s = settings.LineageSettings(
            file=tmp_path / "x" / "events", spool=tmp_path / "spool", timeout_seconds=0.2, **fields
        )
        return emitter.of(s, control_url="http://127.0.0.1:9", token="t")

    made(transport="off").emit(b"1")
    assert list(tmp_path.iterdir()) == []
    made(transport="file").emit(b"2")
    assert (tmp_path / "x" / "events").read_bytes() == b"2\n"
    made().emit(b"3")  # nobody listens there
    assert (tmp_path / "spool").read_bytes() == b"3\n"


def test_the_control_apis_token_goes_to_the_control_api_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, str]] = []

    def http(url: str, token: str, **_: Any) -> emitter.Send:
        sent.append((url, token))
        return lambda event: None

    monkeypatch.setattr(emitter, "http", http)
    (tmp_path / "key").write_text("theirs\n")
    for fields in (
        {},
        {"url": "https://store"},
        {"url": "https://store", "token_file": str(tmp_path / "key")},
    ):
        emitter.of(settings.LineageSettings(**fields), control_url="http://control", token="ours")
    assert sent == [("http://control", "ours"), ("https://store", ""), ("https://store", "theirs")]
    with pytest.raises(errors.InvalidSettings, match="token_file"):
        absent = settings.LineageSettings(url="https://store", token_file=str(tmp_path / "no"))
        emitter.of(absent, control_url="x", token="ours")
