"""What Prometheus scrapes of the control API: requests for anybody, and projects for who may read them."""

from __future__ import annotations

from collections.abc import Mapping

import platform_tenants as tenants
import pytest
from platform_tenants import SECRET, World, app, world  # noqa: F401 - fixtures
from prometheus_client.parser import text_string_to_metric_families

from mainspring.core import settings
from mainspring.core.monitoring import metric_rules
from mainspring.platform.metrics import requests

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(house: World, path: str, who: str = "", expect: int = 200) -> Samples:
    headers = {"Authorization": f"Bearer {who}"} if who else {}
    answer = house.client.get(path, headers=headers)
    assert answer.status_code == expect, answer.text
    if expect != 200:
        return {}
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(answer.text)
        for one in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, has), value in samples.items() if found == name and wanted <= set(has))


def test_anybody_may_scrape_how_often_each_route_was_asked_and_nothing_else(world: World) -> None:  # noqa: F811
    before = scraped(world, "/metrics")
    route = "/api/v1/projects/{name}"
    world.client.get(f"/api/v1/projects/{world.theirs.project}", headers={"Authorization": "Bearer root"})
    world.client.get("/api/v1/projects/nowhere", headers={"Authorization": "Bearer root"})
    after = scraped(world, "/metrics")
    grown = {
        status: of(after, "mainspring_control_requests_total", route=route, status=status)
        - of(before, "mainspring_control_requests_total", route=route, status=status)
        for status in ("200", "404")
    }
    assert grown == {"200": 1, "404": 1}
    timed = of(after, "mainspring_control_request_seconds_bucket", route=route, le="+Inf")
    assert timed == of(after, "mainspring_control_request_seconds_count", route=route)
    assert of(after, "process_resident_memory_bytes") > 0
    labels = {value for _, has in after for _, value in has}
    assert not [value for value in labels if SECRET in value or value == "/metrics"]


def test_every_metric_that_a_rule_asks_for_is_there(world: World) -> None:  # noqa: F811
    there = {name for name, _ in scraped(world, "/metrics")}
    asked = {rule.name: metric_rules.metrics_of(rule) for rule in metric_rules.CONTROL}
    assert all(asked.values())
    assert {name: sorted(metrics - there) for name, metrics in asked.items() if metrics - there} == {}
    late = next(rule for rule in metric_rules.CONTROL if rule.name == "audit-checkpoints-late")
    assert (
        late.expression.endswith(f"> {settings.AuditSettings().late_seconds:.0f}") and late.severity == "page"
    )


def test_projects_are_those_that_the_scraper_may_read(world: World) -> None:  # noqa: F811
    scraped(world, "/api/v1/metrics", expect=401)
    scraped(world, "/api/v1/metrics", "nobody-known", expect=401)
    own, everything = scraped(world, "/api/v1/metrics", "eva"), scraped(world, "/api/v1/metrics", "root")
    projects = {dict(has)["project"] for _, has in own}
    assert projects == {world.own.project}
    assert {world.own.project, world.theirs.project} <= {dict(has)["project"] for _, has in everything}
    assert set(own) < set(everything)
    # And what is scraped is what is on record.
    found, project = own, world.own.project
    assert of(found, "mainspring_runs_ended_total", project=project, kind="train", stage="done") == 1
    assert of(found, "mainspring_runs_open", project=project, kind="train") == 1
    assert of(found, "mainspring_run_intents_open", project=project) == 0
    assert of(found, "mainspring_alerts_unresolved", project=project, state="open") == 1
    report = tenants._report()["report"]
    assert of(found, "mainspring_monitor_rows", project=project) == report["rows"]
    assert of(found, "mainspring_monitor_kpi", project=project, kpi="loss") == 0.25
    put = f"/api/v1/projects/{project}"
    tag = world.client.get(put, headers={"Authorization": "Bearer root"}).headers["etag"]
    world.call("root", "PATCH", put, {"monthly_budget": 12.5}, **{"If-Match": tag})
    assert of(scraped(world, "/api/v1/metrics", "eva"), "mainspring_budget_month") == 12.5


@pytest.mark.parametrize(
    ("seconds", "bound"), [(0.0, "0.005"), (0.005, "0.005"), (0.006, "0.01"), (11.0, "+Inf")]
)
def test_a_time_is_in_every_bucket_that_it_does_not_exceed(seconds: float, bound: str) -> None:
    book = requests.RequestBook()
    book.add("GET", "/x", 200, seconds)
    ((key, buckets, total),) = book.times()
    assert key == ("GET", "/x") and total == seconds
    assert next(end for end, count in buckets if count) == bound and buckets[-1] == ("+Inf", 1.0)
