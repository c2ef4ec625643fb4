"""Statistics per endpoint, traffic version and bundle."""

from __future__ import annotations

import json
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


def score_counts(book: stats.StatsBook, *, version: int = 1) -> tuple[int, ...]:
    (bundle,) = book.view("e1", version).bundles
    return bundle.score_counts


def scored(book: stats.StatsBook, key: str, score: float) -> None:
    book.record("e1", 1, A, "stable", scores_sum=score, rows=1, seconds=0.1, keyed_score=(key, score))


@pytest.mark.parametrize(
    ("score", "edge"),
    [(0.0, 0.05), (0.049, 0.05), (0.05, 0.1), (0.999, 1.0), (1.0, 2.0), (-0.5, 0.0), (100.0, 128.0)],
)
def test_a_score_is_counted_below_the_edge_that_it_does_not_reach(score: float, edge: float) -> None:
    book = stats.StatsBook()
    scored(book, "a", score)
    counted = score_counts(book)
    assert len(counted) == len(deployment.SCORE_EDGES) + 1 and sum(counted) == 1
    assert counted[deployment.SCORE_EDGES.index(edge)] == 1


def test_scores_beyond_every_edge_are_counted_too() -> None:
    book = stats.StatsBook()
    scored(book, "a", 1e30)
    scored(book, "b", -1e30)
    counted = score_counts(book)
    assert (counted[0], counted[-1]) == (1, 1)


def test_a_key_counts_once_by_its_last_score_and_the_newest_keys_count() -> None:
    book = stats.StatsBook()
    for score in (0.1, 0.9):
        scored(book, "again", score)
    assert [i for i, n in enumerate(score_counts(book)) if n] == [deployment.SCORE_EDGES.index(0.95)]
    for i in range(stats.SCORE_WINDOW):
        scored(book, f"key {i}", 0.5)
    counted = score_counts(book)
    assert (sum(counted), max(counted)) == (stats.SCORE_WINDOW, stats.SCORE_WINDOW)


def test_where_nobody_wants_scores_none_are_counted() -> None:
    book = stats.StatsBook()
    book.record("e1", 1, A, "stable", scores_sum=0.5, rows=1, seconds=0.1)
    assert score_counts(book) == ()


def test_a_key_that_two_processes_answered_counts_once() -> None:
    one, other = stats.StatsBook(), stats.StatsBook()
    one.add_from(lambda: [json.loads(json.dumps(other.exported()))])
    for book in (one, other):
        scored(book, "both", 0.5)
    scored(other, "its own", 0.7)
    assert sum(score_counts(one)) == 2
    # What is looked at is a copy: the next look adds nothing twice.
    assert sum(score_counts(one)) == 2
