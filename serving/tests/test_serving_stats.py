"""Statistics per endpoint, traffic version and bundle."""

from __future__ import annotations

import threading

import pytest

from mainspring.core.contracts import deployment
from mainspring.serving import stats

A, B = ("sha256:" + c * 64 for c in "ab")


def test_bundles_are_counted_apart() -> None:
    now = [10.0]
    book = stats.StatsBook(lambda: now[0])
    for ms in range(1, 101):
        book.record("e1", 3, A, "stable", scores_sum=1.0, rows=4, seconds=ms / 1000)
    book.record_error("e1", 3, B, "canary", rows=7)
    now[0] = 12.5
    view = book.view("e1", 3)
    assert (view.endpoint, view.traffic_version, view.window_seconds) == ("e1", 3, 2.5)
    a, b = view.bundles
    assert (a.role, a.requests, a.rows, a.errors, a.mean_score) == ("stable", 100, 400, 0, 0.25)
    assert a.latency_p50_ms == pytest.approx(50.5)
    assert a.latency_p95_ms == pytest.approx(95.05)
    assert a.latency_p99_ms == pytest.approx(99.01)
    told = dict(zip(deployment.LATENCY_SHARES, a.latency_quantiles_ms, strict=True))
    assert (told[0.5], told[0.95], told[1.0]) == (a.latency_p50_ms, a.latency_p95_ms, 100.0)
    assert list(told.values()) == sorted(told.values())
    assert (b.role, b.requests, b.rows, b.errors, b.mean_score) == ("canary", 1, 7, 1, 0.0)
    assert (b.latency_p95_ms, b.latency_quantiles_ms) == (0.0, ())


def test_a_new_traffic_version_begins_anew_and_late_answers_of_the_old_do_not_count() -> None:
    book = stats.StatsBook()
    book.record("e1", 1, A, "stable", scores_sum=0.5, rows=1, seconds=0.1)
    assert book.view("e1", 2).bundles == []
    book.record("e1", 1, A, "stable", scores_sum=0.5, rows=1, seconds=0.1)
    book.record_error("e1", 1, A, "stable", rows=1)
    assert book.view("e1", 2).bundles == []
    assert book.view("e1", 1).window_seconds == 0.0


def test_the_latency_window_forgets_the_warm_up() -> None:
    book = stats.StatsBook()
    book.record("e1", 1, A, "stable", scores_sum=0.0, rows=1, seconds=60.0)
    for _ in range(stats.LATENCY_WINDOW):
        book.record("e1", 1, A, "stable", scores_sum=0.0, rows=1, seconds=0.002)
    (bundle,) = book.view("e1", 1).bundles
    assert bundle.latency_p99_ms == pytest.approx(2.0)
    assert bundle.requests == stats.LATENCY_WINDOW + 1


def test_no_count_is_lost_between_threads() -> None:
    book = stats.StatsBook()

    def work() -> None:
        for _ in range(500):
            book.record("e1", 1, A, "stable", scores_sum=0.5, rows=2, seconds=0.001)
            book.record_error("e1", 1, A, "stable", rows=1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    (bundle,) = book.view("e1", 1).bundles
    assert (bundle.requests, bundle.errors, bundle.rows) == (8000, 4000, 12000)
