"""The real app under real uvicorn, through the real client and raw HTTP: every route and its error paths."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_world as world

from mainspring.core import canonical, errors
from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.contracts.prediction import FeaturePush, LookupStatus, PredictRequest
from mainspring.core.erasure import erased
from mainspring.core.erasure.subjects import Subject

pytestmark = pytest.mark.integration

STABLE = world.World()
CANDIDATE = world.World(name="delay-candidate")
NAN = world.World(name="nan", function=lambda batch: np.full(batch.n_rows, np.nan))
CRASHING = world.World(name="crash", function=lambda batch: batch.no_such_attribute)  # type: ignore[attr-defined]
OTHER_FIELDS = world.World(name="other", request_columns=world.REQUEST_COLUMNS[:1])
NOWHERE = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.Served]:
    bundles = (STABLE, CANDIDATE, NAN, CRASHING, OTHER_FIELDS)
    directory = tmp_path_factory.mktemp("serving")
    known = erased.ErasedList.of(world.settings_in(directory).protection)
    known.add(Subject("flights", "origin", "ERS"), views=["origin_stats"], erasure_id="era_1")
    with world.serve(directory, *bundles, max_body_bytes=20_000, max_rows_per_request=50) as s:
        yield s


@pytest.fixture(scope="module")
def client(served: world.Served) -> Iterator[client_module.ServingClient]:
    token = served.tokens.token_of("service@local")
    with client_module.ServingClient(served.url, token=token) as c:
        yield c


@pytest.fixture
def endpoint(client: client_module.ServingClient, request: pytest.FixtureRequest) -> str:
    """A fresh endpoint with the stable bundle in force."""
    name = canonical.digest(request.node.name)[7:27].translate(str.maketrans("0123456789", "ghijklmnop"))
    client.load_bundle(STABLE.digest)
    client.set_traffic(TrafficTable(endpoint=name, version=1, stable=STABLE.digest))
    return name


def ask(**changes: Any) -> PredictRequest:
    return PredictRequest.model_validate({"as_of": world.AS_OF, "entities": [world.entity(**changes)]})


def raw(served: world.Served, method: str, path: str, **kwargs: Any) -> httpx.Response:
    return httpx.request(method, served.url + path, trust_env=False, **kwargs)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert (response.status_code, document["status"], document["code"]) == (status, status, code), document
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["message"] == document["detail"]
    return document


def bearer(served: world.Served, actor: str) -> dict[str, str]:
    return {"authorization": f"Bearer {served.tokens.token_of(actor)}"}


def test_health_and_readiness(
    served: world.Served, client: client_module.ServingClient, endpoint: str
) -> None:
    assert client.healthy()
    ready = client.ready()
    assert ready["status"] == "ready"
    assert endpoint in ready["endpoints"]
    assert ready["views"] == ["flight_stats", "origin_stats"]


def test_a_prediction_by_entity(client: client_module.ServingClient, endpoint: str) -> None:
    request = PredictRequest.model_validate(
        {
            "as_of": world.AS_OF,
            "entities": [
                world.entity(),
                world.entity(origin="LGA"),
                world.entity(origin="EWR", flight=8),
                world.entity(origin=None),
            ],
        }
    )
    answer = client.predict(endpoint, request, request_id="trace-1")
    assert (answer.request_id, answer.endpoint, answer.role) == ("trace-1", endpoint, "stable")
    assert answer.model_version == STABLE.digest
    fresh, old, absent, keyless = answer.predictions
    # mean of 1.5, 0.25, 100, 160.9 and of the same without the origin's 1.5, by the logistic function
    assert fresh.score == pytest.approx(1 / (1 + np.exp(-(1.5 + 0.25 + 100 + 160.9) / 4)))
    assert fresh.feature_status == {
        "origin_stats": LookupStatus.PRESENT,
        "flight_stats": LookupStatus.PRESENT,
    }
    assert fresh.feature_age_seconds == {"origin_stats": 3600.0, "flight_stats": 3600.0}
    assert old.feature_status["origin_stats"] is LookupStatus.OUTSIDE_MAX_AGE
    assert old.feature_age_seconds["origin_stats"] == 3 * 3600.0
    assert set(absent.feature_status.values()) == {LookupStatus.NOT_FOUND}
    assert absent.feature_age_seconds == {}
    assert keyless.feature_status["origin_stats"] is LookupStatus.NOT_FOUND


def test_a_prediction_by_row(client: client_module.ServingClient, endpoint: str) -> None:
    row = {
        "carrier": "UA",
        "origin_stats__mean_delay": 1.5,
        "origin_stats__weather": None,
        "flight_stats__mean_delay": 0.25,
        "distance": 100,
        "distance_km": 160.9,
    }
    (by_row,) = client.predict(endpoint, PredictRequest(rows=[row])).predictions
    (by_entity,) = client.predict(endpoint, ask()).predictions
    assert by_row.score == by_entity.score
    assert (by_row.feature_status, by_row.feature_age_seconds) == ({}, {})


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{", "invalid_request", "body"),
        (b'{"entities": [{"distance": NaN}]}', "invalid_request", "body"),
        (b"[]", "invalid_request", "body"),
        (b"{}", "invalid_request", "body"),
        (b'{"entitys": []}', "invalid_request", "entitys"),
        (b'{"entities": [], "rows": []}', "invalid_request", "body"),
        (b'{"entities": []}', "invalid_request", "entities"),
        (b'{"entities": [{"origin": ["JFK"]}]}', "invalid_request", "entities.0.origin.str"),
        (b'{"rows": [{}], "as_of": "2013-12-01T10:00:00"}', "invalid_request", "as_of"),
        (json.dumps({"entities": [world.entity(orgin="JFK")]}), "invalid_request", "entities.orgin"),
        (json.dumps({"entities": [{"origin": "JFK"}]}), "invalid_request", "entities[0].carrier"),
        (
            json.dumps({"entities": [world.entity(), world.entity(distance=1e39)]}),
            "invalid_request",
            "entities[1].distance",
        ),
        (
            json.dumps({"entities": [world.entity()], "overrides": {"origin": "x"}}),
            "invalid_request",
            "overrides.origin",
        ),
        (json.dumps({"rows": [{"carrier": "UA"}]}), "invalid_request", "rows[0].origin_stats__mean_delay"),
    ],
)
def test_a_bad_prediction_names_the_field(
    served: world.Served, endpoint: str, body: bytes, code: str, field: str
) -> None:
    document = problem(raw(served, "POST", f"/v1/endpoints/{endpoint}:predict", content=body), 400, code)
    assert document["details"]["field"] == field


@pytest.mark.parametrize(
    ("changes", "feature", "expected", "got"),
    [
        ({"flight": "7"}, "flight", "int64", "string"),
        ({"flight": 7.0}, "flight", "int64", "float64"),
        ({"flight": True}, "flight", "int64", "bool"),
        ({"flight": None}, "flight", "int64", "null"),
        ({"origin": 7}, "origin", "string", "int64"),
        ({"distance": True}, "distance", "float32", "bool"),
        ({"distance": "far"}, "distance", "float32", "string"),
    ],
)
def test_a_wrong_type_names_the_field_and_both_types(
    client: client_module.ServingClient,
    endpoint: str,
    changes: dict[str, Any],
    feature: str,
    expected: str,
    got: str,
) -> None:
    with pytest.raises(
        errors.SchemaMismatch, match=rf"`entities\[0\]\.{feature}` is {got}, expected"
    ) as caught:
        client.predict(endpoint, ask(**changes))
    assert (caught.value.feature, caught.value.expected, caught.value.got) == (feature, expected, got)


def test_too_many_rows_are_refused(client: client_module.ServingClient, endpoint: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="has 51 rows, expected 1 to 50; split"):
        client.predict(endpoint, PredictRequest(entities=[world.entity()] * 51))


def test_a_large_body_is_refused_with_or_without_a_declared_length(
    served: world.Served, endpoint: str
) -> None:
    path = f"/v1/endpoints/{endpoint}:predict"
    problem(raw(served, "POST", path, content=b" " * 20_001), 413, "invalid_request")
    chunks = (b" " * 1000 for _ in range(21))
    problem(raw(served, "POST", path, content=chunks), 413, "invalid_request")
    problem(raw(served, "POST", path, content=b" " * 20_000), 400, "invalid_request")


def test_an_unknown_endpoint_names_the_nearest(client: client_module.ServingClient, endpoint: str) -> None:
    for call in (lambda n: client.predict(n, ask()), client.endpoint, client.stats):
        with pytest.raises(errors.NotFound) as caught:
            call(endpoint + "x")
        assert endpoint in caught.value.did_you_mean


def test_an_unknown_route_and_a_wrong_method(served: world.Served) -> None:
    problem(raw(served, "GET", "/v1/nothing"), 404, "not_found")
    response = raw(served, "DELETE", "/v1/endpoints")
    problem(response, 405, "invalid_request")
    assert response.headers["allow"] == "GET"


def test_a_request_id_is_echoed_or_made(served: world.Served) -> None:
    sent = raw(served, "GET", "/healthz", headers={"x-request-id": "abc-1"})
    assert sent.headers["x-request-id"] == "abc-1"
    for refused in ("", "a b", "x" * 129):
        made = raw(served, "GET", "/healthz", headers={"x-request-id": refused}).headers["x-request-id"]
        assert made.startswith("req_")


def test_traffic_moves_by_versions(client: client_module.ServingClient, endpoint: str) -> None:
    client.load_bundle(CANDIDATE.digest)
    moved = TrafficTable(
        endpoint=endpoint, version=2, stable=STABLE.digest, canary=CANDIDATE.digest, canary_percent=100
    )
    view = client.set_traffic(moved)
    assert view.traffic.canary == CANDIDATE.digest
    assert view.traffic.set_by == "service@local"
    assert view.loaded == [STABLE.digest, CANDIDATE.digest]
    assert client.set_traffic(moved) == view
    answer = client.predict(endpoint, ask())
    assert (answer.role, answer.model_version) == ("canary", CANDIDATE.digest)
    with pytest.raises(errors.Conflict, match="is at version 2, got version 5"):
        client.set_traffic(moved.model_copy(update={"version": 5}))
    assert client.endpoint(endpoint) == view
    assert view in client.endpoints()


def test_traffic_goes_to_loaded_bundles_only(client: client_module.ServingClient, endpoint: str) -> None:
    with pytest.raises(errors.NotFound, match="is not loaded"):
        client.set_traffic(TrafficTable(endpoint=endpoint, version=2, stable=NOWHERE))
    assert client.endpoint(endpoint).traffic.version == 1


def test_a_canary_asks_for_what_the_stable_bundle_asks(
    client: client_module.ServingClient, endpoint: str
) -> None:
    client.load_bundle(OTHER_FIELDS.digest)
    table = TrafficTable(
        endpoint=endpoint, version=2, stable=STABLE.digest, canary=OTHER_FIELDS.digest, canary_percent=5
    )
    with pytest.raises(errors.Conflict, match="ask for different fields: `dep_us`"):
        client.set_traffic(table)


def test_a_traffic_table_is_of_its_endpoint_and_well_formed(served: world.Served, endpoint: str) -> None:
    headers = bearer(served, "developer@local")
    path = f"/v1/endpoints/{endpoint}/traffic"
    table = {"endpoint": "other-name", "version": 2, "stable": STABLE.digest}
    document = problem(raw(served, "PUT", path, json=table, headers=headers), 400, "invalid_request")
    assert document["details"]["field"] == "endpoint"
    for broken in ({"version": 0}, {"canary_percent": 5}, {"stable": "sha256:x"}):
        body = {**table, "endpoint": endpoint, **broken}
        problem(raw(served, "PUT", path, json=body, headers=headers), 400, "invalid_request")


def test_changes_need_a_token_with_a_role(served: world.Served, endpoint: str) -> None:
    routes = (
        ("PUT", f"/v1/endpoints/{endpoint}/traffic"),
        ("POST", "/v1/bundles:load"),
        ("POST", "/v1/features/origin_stats:push"),
    )
    for method, path in routes:
        response = raw(served, method, path, content=b"{}")
        problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
        wrong = raw(served, method, path, content=b"{}", headers={"authorization": "Bearer dev-x"})
        problem(wrong, 401, "unauthenticated")
        approver = raw(served, method, path, content=b"{}", headers=bearer(served, "approver@local"))
        assert problem(approver, 403, "permission_denied")["details"]["actor"] == "approver@local"
        for actor in ("developer@local", "service@local", "admin@local"):
            problem(
                raw(served, method, path, content=b"{}", headers=bearer(served, actor)),
                400,
                "invalid_request",
            )


def test_bundles_load_once_and_are_listed(served: world.Served, client: client_module.ServingClient) -> None:
    first = client.load_bundle(CANDIDATE.digest)
    assert client.load_bundle(CANDIDATE.digest) == first
    assert served.loader.loads.count(CANDIDATE.digest) == 1
    assert (first.name, first.views) == ("delay-candidate", ["origin_stats", "flight_stats"])
    assert first.input_columns == dict(CANDIDATE.input_columns)
    assert first in client.bundles()
    with pytest.raises(errors.NotFound, match="no bundle"):
        client.load_bundle(NOWHERE)


def test_a_push_is_seen_by_the_next_prediction(client: client_module.ServingClient, endpoint: str) -> None:
    before = client.predict(endpoint, ask(origin="BOS")).predictions[0]
    assert before.feature_status["origin_stats"] is LookupStatus.NOT_FOUND
    push = FeaturePush.model_validate(
        {
            "view": "origin_stats",
            "keys": {"origin": ["BOS", "BOS"]},
            "event_times": ["2013-12-01T12:00:00Z", "2013-12-01T12:13:00Z"],
            "columns": {"mean_delay": [3.0, 4.0], "weather": ["fog", None]},
        }
    )
    result = client.push(push)
    assert (result.received, result.accepted) == (2, 1)
    after = client.predict(endpoint, ask(origin="BOS")).predictions[0]
    assert after.feature_status["origin_stats"] is LookupStatus.PRESENT
    assert after.feature_age_seconds["origin_stats"] == 20.0


def test_a_bad_push_changes_nothing(
    served: world.Served, client: client_module.ServingClient, endpoint: str
) -> None:
    good: dict[str, Any] = {
        "view": "origin_stats",
        "keys": {"origin": ["SEA"]},
        "event_times": ["2013-12-01T12:00:00Z"],
        "columns": {"mean_delay": [3.0], "weather": ["fog"]},
    }
    for change, expected in (
        ({"view": "origin_stat"}, errors.NotFound),
        ({"keys": {"orign": ["SEA"]}}, errors.SchemaMismatch),
        ({"columns": {"mean_delay": ["x"], "weather": ["fog"]}}, errors.SchemaMismatch),
        ({"columns": {"mean_delay": [1.0, 2.0], "weather": ["fog"]}}, errors.SchemaMismatch),
        ({"created_times": []}, errors.InvalidRequest),
    ):
        with pytest.raises(expected):
            client.push(FeaturePush.model_validate(good | change))
    with pytest.raises(errors.NotFound, match="did you mean `origin_stats`"):
        client.push(FeaturePush.model_validate(good | {"view": "origin_stat"}))
    path = "/v1/features/flight_stats:push"
    mixed = raw(served, "POST", path, json=good, headers=bearer(served, "developer@local"))
    assert problem(mixed, 400, "invalid_request")["details"]["field"] == "view"
    (after,) = client.predict(endpoint, ask(origin="SEA")).predictions
    assert after.feature_status["origin_stats"] is LookupStatus.NOT_FOUND


def test_one_subjects_rows_are_found_and_erased_and_do_not_come_again(
    served: world.Served, client: client_module.ServingClient
) -> None:
    rows = {
        "view": "origin_stats",
        "keys": {"origin": ["ERS", "PDX"]},
        "event_times": ["2013-12-01T12:00:00Z"] * 2,
        "columns": {"mean_delay": [3.0, 4.0], "weather": ["fog", None]},
    }
    pushed = client.push(FeaturePush.model_validate(rows))
    assert (pushed.received, pushed.accepted) == (2, 1), "who was erased before is left out"
    views = ["origin_stats", "flight_stats", "nobody's"]
    assert client.held(views, ["origin"], "ERS") == dict.fromkeys(views, 0)
    assert client.held(views, ["origin"], "PDX") == {**dict.fromkeys(views, 0), "origin_stats": 1}
    assert client.forget(views, ["origin"], "PDX")["origin_stats"] == 1
    assert client.forget(views, ["origin"], "PDX")["origin_stats"] == 0
    assert client.held(views, ["flight"], "7")["flight_stats"] == 1, "a part of a key, and a number"
    body = {"views": ["origin_stats"], "columns": ["origin"], "key": "JFK"}
    for path in ("/v1/subjects:find", "/v1/subjects:erase"):
        problem(raw(served, "POST", path, json=body), 401, "unauthenticated")
        refused = raw(served, "POST", path, json=body, headers=bearer(served, "developer@local"))
        problem(refused, 403, "permission_denied")
        wrong = raw(served, "POST", path, json={**body, "columns": []}, headers=bearer(served, "admin@local"))
        assert "columns" in problem(wrong, 400, "invalid_request")["message"]
    assert client.held(["origin_stats"], ["origin"], "JFK") == {"origin_stats": 1}


def test_stats_tell_what_was_seen(client: client_module.ServingClient, endpoint: str) -> None:
    scores = [client.predict(endpoint, ask(distance=d)).predictions[0].score for d in (1.0, 2.0, 3.0)]
    with pytest.raises(errors.SchemaMismatch):
        client.predict(endpoint, ask(flight="7"))
    (bundle,) = client.stats(endpoint).bundles
    assert (bundle.requests, bundle.rows, bundle.errors) == (
        3,
        3,
        0,
    )  # the caller's mistake is not the bundle's
    assert bundle.mean_score == pytest.approx(np.mean(scores))
    assert 0 < bundle.latency_p50_ms <= bundle.latency_p95_ms <= bundle.latency_p99_ms


@pytest.mark.parametrize("bundle", [NAN, CRASHING], ids=["nan", "crash"])
def test_a_bundle_that_fails_answers_500_and_is_counted(
    served: world.Served, client: client_module.ServingClient, endpoint: str, bundle: world.World
) -> None:
    client.load_bundle(bundle.digest)
    client.set_traffic(TrafficTable(endpoint=endpoint, version=2, stable=bundle.digest))
    body = ask().model_dump_json()
    response = raw(served, "POST", f"/v1/endpoints/{endpoint}:predict", content=body)
    document = problem(response, 500, "invariant_violated")
    assert "no_such_attribute" not in document["message"]  # the trace is in the log, not on the wire
    with pytest.raises(errors.InvariantViolated):
        client.predict(endpoint, ask())
    (seen,) = client.stats(endpoint).bundles
    assert (seen.requests, seen.errors) == (2, 2)


def test_the_api_is_described(served: world.Served) -> None:
    document = raw(served, "GET", "/openapi.json").json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    v2 = {path for path in paths if path.startswith("/v2")}
    assert {"/v2", "/v2/models/{name}/infer", "/v2/repository/index"} <= v2
    assert set(paths) - v2 == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/endpoints",
        "/v1/endpoints/{name}",
        "/v1/endpoints/{name}:explain",
        "/v1/endpoints/{name}:predict",
        "/v1/endpoints/{name}/traffic",
        "/v1/endpoints/{name}/stats",
        "/v1/endpoints/{name}:rest",
        "/v1/endpoints/{name}:release",
        "/v1/endpoints/{name}/released",
        "/v1/bundles:load",
        "/v1/bundles:withdraw",
        "/v1/bundles",
        "/v1/features/{view}:push",
        "/v1/features:read",
        "/v1/features/quarantine",
        "/v1/features/quarantine/{name}",
        "/v1/features/quarantine/{name}:release",
        "/get-online-features",
        "/v1/keys",
        "/v1/keys/{key_id}",
        "/v1/keys/{key_id}:rotate",
        "/v1/trusted-keys",
        "/v1/limits",
        "/v1/masking",
        "/v1/subjects:erase",
        "/v1/subjects:find",
    }
    body = paths["/v1/endpoints/{name}:predict"]["post"]["requestBody"]
    name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "entities" in schemas[name]["properties"]


def test_a_restart_serves_what_was_in_force(tmp_path: Path) -> None:
    with world.serve(tmp_path, STABLE) as first:
        token = first.tokens.token_of("service@local")
        with client_module.ServingClient(first.url, token=token) as c:
            c.load_bundle(STABLE.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=STABLE.digest))
            before = c.predict("flights", ask())
    with world.serve(tmp_path, STABLE) as second, client_module.ServingClient(second.url) as c:
        after = c.predict("flights", ask())
        assert after.predictions == before.predictions
        assert c.endpoint("flights").traffic.set_by == "service@local"
    with pytest.raises(errors.Misconfigured, match="endpoint `flights` needs bundle .* does not load"):
        with world.serve(tmp_path):
            pass


def test_the_client_tells_when_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        with client_module.ServingClient(f"http://127.0.0.1:{taken.getsockname()[1]}") as c:
            assert not c.healthy()
            with pytest.raises(errors.DependencyDown, match="does not answer"):
                c.ready()


def test_the_client_tells_when_the_answer_is_late_or_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with client_module.ServingClient(url, timeout_seconds=0.05) as c:
            with pytest.raises(errors.DeadlineExceeded):
                c.endpoints()
