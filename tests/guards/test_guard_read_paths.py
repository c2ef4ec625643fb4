"""Every way to see a value of a column is in one table, here and in `docs/data.md`; a new way to read is in neither, and fails.

Held over the routes and verbs that the surface has. What a route answers cannot be told from its type: whoever adds one says it here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SURFACE: Final = ROOT / "docs" / "surface" / "next"
HEADING: Final = "### Every way to see a value"

#: Ways by which values come, and the row of the table that says what is shown of them and to whom.
VALUES: Final = {
    "control": {
        "GET /api/v1/catalog": "catalog",
        "GET /api/v1/catalog/{project}/{name}": "catalog",
        "GET /api/v1/runs": "evaluation",
        "GET /api/v1/runs/{run_id}": "evaluation",
        "GET /api/v1/models/{project}/{digest}": "card",
        "GET /api/v1/monitoring/reports": "report",
        "GET /api/v1/monitoring/reports/{report_id}": "report",
        "GET /api/v1/monitoring/reports/{report_id}/page": "page",
        "GET /api/v1/alerts": "report",
        "GET /api/v1/alerts/{alert_id}": "report",
        "GET /api/v1/audit": "record",
        "GET /api/v1/audit/{sequence}/proof": "record",
        "GET /api/v1/audit:export": "record",
        "GET /api/v1/events": "record",
        "GET /api/v1/quarantine/{project}": "quarantine",
        "GET /api/v1/quarantine/{project}/{name}": "quarantine",
        "GET /api/v1/lineage:rows": "rows",
        "GET /api/v1/runs/{run_id}/logs": "code",
        "GET /api/v1/projects/{project}/pipelines/{digest}": "code",
    },
    "serving": {
        "POST /v1/features:read": "features",
        "POST /get-online-features": "features",
        "POST /v1/endpoints/{name}:predict": "predictions",
        "POST /v1/endpoints/{name}:explain": "predictions",
        "POST /v2/models/{name}/infer": "predictions",
        "POST /v2/models/{name}/versions/{version}/infer": "predictions",
        "GET /v1/features/quarantine": "quarantine",
        "GET /v1/features/quarantine/{name}": "quarantine",
    },
    "commands": {
        "catalog list": "catalog",
        "catalog show": "catalog",
        "data open": "sealed",
        "data check": "files",
        "data classify": "files",
        "data export": "files",
        "data seal": "files",
        "data reseal": "files",
        "data synthesise": "files",
        "endpoint predict": "predictions",
        "model show": "card",
        "monitor list": "report",
        "monitor page": "page",
        "monitor report": "report",
        "monitor show": "report",
        "quarantine list": "quarantine",
        "quarantine show": "quarantine",
        "trace": "rows",
    },
}
#: Names, digests, counts, times, people who act, settings: nothing of a column's values.
NOTHING: Final = {
    "control": {
        *("alert-rules", "budgets", "budgets/{environment}/{period}", "classifications", "dpia", "keyset", "masking", "members"),
        *("members/{actor}", "privacy", "purposes", "purposes/{entry}", "quota", "schedules", "schedules/{process}"),
        *("schedules/{process}/runs/{run_id}", "secrets", "secrets/{name}", "service-accounts", "service-accounts/{name}"),
        *("storage", "access-requests", "access-requests/{request_id}"),
        # Digests of keys, keyed: nobody can tell whom they are of.
        *("erasures", "erasures/{erasure_id}", "holds", "holds/{hold_id}"),
    },
    "whole": {
        *("/healthz", "/metrics", "/readyz", "/api/v1/audit:verify", "/api/v1/catalog/{project}", "/api/v1/costs"),
        *(f"/api/v1/costs:{what}" for what in ("chargeback", "forecast", "oversize", "records", "showback", "standing", "units", "untagged")),
        *("/api/v1/endpoints", "/api/v1/endpoints/{name}", "/api/v1/endpoints/{name}/history", "/api/v1/endpoints/{name}/live"),
        *("/api/v1/environments", "/api/v1/idle-endpoints", "/api/v1/key-changes/{change_id}", "/api/v1/keys"),
        *("/api/v1/lineage/{namespace}/{question}", "/api/v1/lineage:walk", "/api/v1/me", "/api/v1/metrics", "/api/v1/models"),
        *("/api/v1/projects", "/api/v1/projects/{name}", "/api/v1/runs/{run_id}/canary", "/api/v1/serving-usage"),
        *("/api/v1/templates", "/api/v1/templates/{name}", "/api/v1/approvals", "/api/v1/approvals/{approval_id}"),
        *("/api/v1/policies", "/api/v1/policies/{policy_id}", "/api/v1/policies:reads", "/api/v1/policies:versions"),
    },
    "serving": {
        *("GET /healthz", "GET /metrics", "GET /readyz", "GET /v1/bundles", "GET /v1/endpoints", "GET /v1/endpoints/{name}"),
        *("GET /v1/endpoints/{name}/released", "GET /v1/endpoints/{name}/stats", "GET /v1/keys", "GET /v1/limits"),
        *("GET /v1/masking", "GET /v1/trusted-keys", "GET /v2", "GET /v2/health/live", "GET /v2/health/ready"),
        *("GET /v2/models/stats", "GET /v2/models/{name}", "GET /v2/models/{name}/config", "GET /v2/models/{name}/ready"),
        *("GET /v2/models/{name}/stats", "GET /v2/models/{name}/versions/{version}"),
        *(f"GET /v2/models/{{name}}/versions/{{version}}/{what}" for what in ("config", "ready", "stats")),
        *("POST /v1/bundles:load", "POST /v1/bundles:withdraw", "POST /v1/endpoints/{name}:release", "POST /v1/keys"),
        *("POST /v1/endpoints/{name}:rest", "POST /v1/features/quarantine/{name}:release", "POST /v1/features/{view}:push"),
        *("POST /v1/keys/{key_id}:rotate", "POST /v1/subjects:erase", "POST /v1/subjects:find", "POST /v2/repository/index"),
        *("POST /v2/repository/models/{name}/load", "POST /v2/repository/models/{name}/unload"),
    },
    "commands": {
        *("catalog put", "data confirm", "data findings", "data mask", "data reject", "quarantine release", "model import"),
        *("model list", "model retire", "model revoke", "lineage"),
        *(f"monitor rules {verb}" for verb in ("check", "export", "put", "show")),
        *(f"endpoint {verb}" for verb in ("delete", "history", "idle", "list", "promote", "release", "rollback", "show", "traffic")),
        *(f"endpoint canary {verb}" for verb in ("abort", "pause", "promote", "resume", "show")),
    },
}  # fmt: skip
#: Verbs that are about data; of the others none has a column's values but by the routes above.
GROUPS: Final = ("catalog", "data", "endpoint", "lineage", "model", "monitor", "quarantine", "trace")


def surface(of: str) -> set[str]:
    found: dict[str, object] = json.loads((SURFACE / f"{of}.json").read_text())
    return set(found)


def looks(routes: set[str]) -> set[str]:
    """Of the control API: every GET, by its whole name; some have a short one, too."""
    return {route for route in routes if route.startswith("GET ") and not route.startswith("GET /v1/")}


def rows() -> Iterator[str]:
    """The first cell of each row of the table."""
    text = (ROOT / "docs" / "data.md").read_text()
    assert HEADING in text
    for line in text.partition(HEADING)[2].partition("\n## ")[0].splitlines():
        if line.startswith("| ") and not line.startswith("| way"):
            yield line.split("|")[1].strip()


def unsaid(of: str, routes: set[str]) -> set[str]:
    if of == "control":
        short = {f"GET /api/v1/projects/{{project}}/{name}" for name in NOTHING["control"]}
        return looks(routes) ^ (set(VALUES[of]) | short | {f"GET {path}" for path in NOTHING["whole"]})
    if of == "commands":
        routes = {verb for verb in routes if verb.split()[0] in GROUPS}
    else:
        routes = {route for route in routes if route.startswith(("GET ", "POST "))}
    return routes ^ (set(VALUES[of]) | NOTHING[of])


def test_every_way_to_read_says_what_it_shows() -> None:
    for of in VALUES:
        assert unsaid(of, surface(of)) == set(), of
        assert not set(VALUES[of]) & NOTHING.get(of, set())


def test_a_new_way_is_seen() -> None:
    assert unsaid("control", surface("control") | {"GET /api/v1/samples"}) == {"GET /api/v1/samples"}
    assert unsaid("serving", surface("serving") | {"POST /v1/rows"}) == {"POST /v1/rows"}
    assert unsaid("commands", surface("commands") | {"data head"}) == {"data head"}


def test_the_table_for_people_has_every_row_and_no_other() -> None:
    said = list(rows())
    assert len(said) == len(set(said))
    wanted = {row for ways in VALUES.values() for row in ways.values()}
    assert {row.partition(":")[0] for row in said} >= wanted
