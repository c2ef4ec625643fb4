"""The control API, typed: every answer is a contract, every refusal one of our errors.

    with ControlClient("http://127.0.0.1:8080", token) as client:
        for run in client.each_run(project="flight-delay"):
            print(run.run_id, run.stage)

:class:`AsyncControlClient` has the same methods, awaited, and `async for` where these are iterated over.
"""

from __future__ import annotations

from mainspring.core.client.api import data, holds, monitoring, policies, projects, protection, runs, served
from mainspring.core.client.api.generated import data as async_data
from mainspring.core.client.api.generated import holds as async_holds
from mainspring.core.client.api.generated import monitoring as async_monitoring
from mainspring.core.client.api.generated import policies as async_policies
from mainspring.core.client.api.generated import projects as async_projects
from mainspring.core.client.api.generated import protection as async_protection
from mainspring.core.client.api.generated import runs as async_runs
from mainspring.core.client.api.generated import served as async_served

__all__ = ["AsyncControlClient", "ControlClient"]


class ControlClient(
    projects.Projects,
    runs.Runs,
    served.Served,
    data.Data,
    data.Records,
    monitoring.Monitoring,
    protection.Protection,
    policies.Policies,
    holds.Holds,
):
    """One connection pool. Thread-safe, as httpx.Client is.

    A request without an answer, or that was asked to come later, is sent again (`retries`), a change with the same
    `Idempotency-Key`: it is made once. What has a version is changed as it was looked at: the views have it as `version`.
    Errors of every method: what the API answered, rebuilt from its code; DependencyDown if nothing answers,
    DeadlineExceeded if it takes longer than `timeout_seconds`.
    """


class AsyncControlClient(
    async_projects.AsyncProjects,
    async_runs.AsyncRuns,
    async_served.AsyncServed,
    async_data.AsyncData,
    async_data.AsyncRecords,
    async_monitoring.AsyncMonitoring,
    async_protection.AsyncProtection,
    async_policies.AsyncPolicies,
    async_holds.AsyncHolds,
):
    """As :class:`ControlClient`, for the tasks of one event loop: `async with`, and every method awaited."""
