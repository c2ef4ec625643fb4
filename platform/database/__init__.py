"""The control database: its tables, and one writer at a time on SQLite and on PostgreSQL alike.

SQLite in WAL mode: readers never wait. A writer begins with BEGIN IMMEDIATE, so what it read cannot change before it
commits, and two audit rows never follow the same one. On PostgreSQL an advisory lock says the same; readers have one
snapshot and cannot write. Money is integer billionths, times are ISO 8601 UTC text.

The tables here are what the code reads and writes; `platform/migrations/` makes them, and a test holds the two against
each other on both engines.
"""

from mainspring.platform.database.alerts import (
    alert_deliveries,
    alert_events,
    alert_rules,
    alerts,
    monitor_reports,
)
from mainspring.platform.database.connection import Database, insert
from mainspring.platform.database.data import (
    catalog,
    classifications,
    dpias,
    erasures,
    holds,
    lineage_edges,
    lineage_events,
    lineage_nodes,
    privacy_budgets,
    privacy_spends,
    purposes,
)
from mainspring.platform.database.metadata import NUMBER, TEXT, metadata
from mainspring.platform.database.money import (
    budgets,
    reservations,
    serving_usage,
    storage,
    usage,
    work_reservations,
)
from mainspring.platform.database.projects import (
    access_requests,
    endpoints,
    members,
    projects,
    quotas,
    secret_refs,
    service_account_tokens,
    service_accounts,
)
from mainspring.platform.database.record import (
    audit,
    read_decisions,
    request_keys,
)
from mainspring.platform.database.runs import (
    intents,
    runs,
)

__all__ = [
    "Database",
    "NUMBER",
    "TEXT",
    "access_requests",
    "alert_deliveries",
    "alert_events",
    "alert_rules",
    "alerts",
    "audit",
    "budgets",
    "catalog",
    "classifications",
    "dpias",
    "endpoints",
    "erasures",
    "holds",
    "insert",
    "intents",
    "lineage_edges",
    "lineage_events",
    "lineage_nodes",
    "members",
    "metadata",
    "monitor_reports",
    "privacy_budgets",
    "privacy_spends",
    "projects",
    "purposes",
    "quotas",
    "read_decisions",
    "request_keys",
    "reservations",
    "runs",
    "secret_refs",
    "service_account_tokens",
    "service_accounts",
    "serving_usage",
    "storage",
    "usage",
    "work_reservations",
]
