"""Who answers because somebody asked for it: over every protocol, for those who may, and beside the canary's statistics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_access_world as access_world
import serving_world as world
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from mainspring.core import errors
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.serving.access import callers, wishes

ROLE, BUNDLE = wishes.ROLE_HEADER, wishes.BUNDLE_HEADER
WORLDS = {role: world.World(name=f"wished-{role}") for role in ("stable", "canary", "shadow")}
DIGESTS = {role: bundle.digest for role, bundle in WORLDS.items()}
MAY = callers.Caller("tester", frozenset({"predict", "route"}))


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, ""),
        ({ROLE: "canary"}, "canary"),
        ({ROLE: "shadow", "x-other": "1"}, "shadow"),
        ({BUNDLE: DIGESTS["canary"]}, DIGESTS["canary"]),
    ],
)
def test_what_is_wished_is_granted(headers: dict[str, str], wanted: str) -> None:
    assert wishes.granted(wishes.sent(headers), MAY) == wanted


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({ROLE: "Canary"}, f"`{ROLE}` is `Canary`, expected one of stable, canary, shadow"),
        ({ROLE: ""}, f"`{ROLE}` is ``"),
        ({BUNDLE: "sha256:ab"}, f"`{BUNDLE}` is `sha256:ab`, expected `sha256:` and 64 hex digits"),
        ({BUNDLE: b"\xff"}, f"`{BUNDLE}` is "),
        ({ROLE: "stable", BUNDLE: DIGESTS["stable"]}, "are both there; send one"),
    ],
)
def test_what_makes_no_sense_is_refused(headers: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        wishes.granted(wishes.sent(headers), MAY)
    assert words in refused.value.message


@pytest.mark.parametrize("scopes", [{"predict", "read"}, {"admin"}])
def test_without_the_scope_nothing_is_granted(scopes: set[Any]) -> None:
    caller = callers.Caller("team-a", frozenset(scopes))
    assert wishes.granted(wishes.NONE, caller) == ""
    for headers in ({ROLE: "canary"}, {ROLE: "nonsense"}, {BUNDLE: DIGESTS["stable"]}):
        with pytest.raises(errors.PermissionDenied, match="`team-a` may not choose who answers") as refused:
            wishes.granted(wishes.sent(headers), caller)
        assert refused.value.action == "route"


class House:
    """A server with all three roles in its traffic, and what asks it."""

    def __init__(self, opened: access_world.House, is_open: bool) -> None:
        self.opened, self.is_open = opened, is_open
        self.key = opened.key("tester", "predict", "read", "route")

    def predict(self, key: str = "", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.opened.http.post(
            access_world.PREDICT, json=access_world.ASKED, headers=named | (access_world.bearer(key) or {})
        )

    def counts(self) -> dict[tuple[str, str], int]:
        stats = self.opened.http.get(
            "/v1/endpoints/flights/stats", headers=access_world.bearer(self.key)
        ).json()
        return {(b["bundle_digest"], b["role"]): b["requests"] for b in stats["bundles"]}


@pytest.fixture(scope="module", params=[(way, demands) for way in world.WAYS for demands in (False, True)])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    way, demands = request.param
    directory = tmp_path_factory.mktemp("wishes")
    with access_world.opened(directory, *WORLDS.values(), require_token=demands, **world.WAYS[way]) as opened:
        stable, canary, shadow = DIGESTS.values()
        table = TrafficTable(
            endpoint="flights", version=1, stable=stable, canary=canary, canary_percent=1, shadow=shadow
        )
        opened.take(table, *WORLDS.values())
        yield House(opened, not demands)


def test_a_role_or_a_digest_answers_and_is_nobodys_statistics(house: House) -> None:
    before = house.counts()
    for role, digest in DIGESTS.items():
        for header in ({"x_mainspring_role": role}, {"x_mainspring_bundle": digest}):
            answer = house.predict(house.key, **header)
            assert answer.status_code == 200, answer.text
            assert (answer.json()["model_version"], answer.json()["role"]) == (digest, "chosen")
    after = house.counts()
    gained = {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}
    assert gained == {(digest, "chosen"): 2 for digest in DIGESTS.values()}, "and the shadow did not see them"


def test_who_may_not_is_told_so(house: House) -> None:
    plain = house.opened.key("plain", "predict", "read", "admin")
    for key in ("", plain) if house.is_open else (plain,):
        answer = house.predict(key, x_mainspring_role="canary")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied"), answer.text
        assert house.predict(key).status_code == 200
    nothing = house.predict(house.key, x_mainspring_role="best")
    assert (nothing.status_code, ROLE in nothing.json()["detail"]) == (400, True)
    other = house.predict(house.key, x_mainspring_bundle="sha256:" + "0" * 64)
    assert (other.status_code, "in its traffic" in other.json()["detail"]) == (404, True)


def test_a_model_without_traffic_heeds_no_wish(house: House) -> None:
    answer = house.opened.http.post(
        access_world.INFER,
        json=access_world.ROW,
        headers={ROLE: "canary"} | (access_world.bearer(house.opened.key("plain", "predict")) or {}),
    )
    assert answer.status_code == 200, "the native front knows no traffic either"


COLUMNS: dict[str, Any] = {
    "carrier": np.array([b"UA"], object),
    "origin_stats__mean_delay": np.array([1.5], np.float32),
    "origin_stats__weather": np.array([b""], object),
    "flight_stats__mean_delay": np.array([np.nan], np.float32),
    "distance": np.array([-100.0], np.float32),
    "distance_km": np.array([-160.9], np.float32),
}


def columns_for(library: Any) -> list[Any]:
    types = {"O": "BYTES", "f": "FP32"}
    return [
        library.InferInput(name, [1], types[value.dtype.kind]).set_data_from_numpy(value)
        for name, value in COLUMNS.items()
    ]


@pytest.mark.parametrize("over_grpc", [False, True])
def test_the_acceptance_clients_choose_too(house: House, over_grpc: bool) -> None:
    if over_grpc:
        client: Any = triton_grpc.InferenceServerClient(f"127.0.0.1:{house.opened.grpc_port}")
        library: Any = triton_grpc
    else:
        client = triton_http.InferenceServerClient(house.opened.served.url.removeprefix("http://"))
        library = triton_http

    def version(key: str, **more: Any) -> str:
        result = client.infer(
            "flights", columns_for(library), headers=access_world.bearer(key), **more
        ).get_response()
        return str(result.model_version if over_grpc else result["model_version"])

    def wished(key: str, name: str, value: str) -> str:
        sent = {**(access_world.bearer(key) or {}), name: value}
        result = client.infer("flights", columns_for(library), headers=sent).get_response()
        return str(result.model_version if over_grpc else result["model_version"])

    try:
        before = house.counts()
        assert wished(house.key, ROLE, "shadow") == DIGESTS["shadow"]
        assert wished(house.key, BUNDLE, DIGESTS["canary"]) == DIGESTS["canary"]
        assert version(house.key, model_version=DIGESTS["canary"]) == DIGESTS["canary"]
        after = house.counts()
        assert after.get((DIGESTS["canary"], "canary"), 0) == before.get((DIGESTS["canary"], "canary"), 0)
        assert after[DIGESTS["canary"], "chosen"] == before.get((DIGESTS["canary"], "chosen"), 0) + 2
        plain = house.opened.key("plain", "predict")
        with pytest.raises(InferenceServerException, match="may not choose who answers"):
            wished(plain, ROLE, "canary")
        with pytest.raises(InferenceServerException, match="a version and a wish"):
            sent = {**(access_world.bearer(house.key) or {}), ROLE: "canary"}
            client.infer("flights", columns_for(library), headers=sent, model_version=DIGESTS["canary"])
    finally:
        client.close()


def test_a_role_that_nobody_has_is_not_found(tmp_path: Path) -> None:
    with access_world.opened(tmp_path, front="off") as opened:
        key = opened.key("tester", "predict", "route")
        headers = {ROLE: "canary", **(access_world.bearer(key) or {})}
        answer = opened.http.post(access_world.PREDICT, json=access_world.ASKED, headers=headers)
        assert (answer.status_code, "has no bundle `canary` in its traffic" in answer.text) == (404, True)
