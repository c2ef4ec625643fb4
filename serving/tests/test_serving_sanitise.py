"""What a bundle's input policy does to what callers send, value by value and over every protocol."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import serving_access_world as access_world
import serving_world as world
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray
from serving_access_world import PREDICT
from tritonclient.utils import InferenceServerException

from mainspring.core import errors
from mainspring.core.client import serving as client_module
from mainspring.core.contracts import inputs
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.models import sanitise

Action = inputs.Action


def applied(
    values: Any, dtype: Any, sanitiser: sanitise.Sanitiser | None = None, **column: Any
) -> NDArray[Any]:
    policy = inputs.InputPolicy(
        columns={"x": inputs.ColumnPolicy(**{k: v for k, v in column.items() if k != "infinite"})},
        infinite=column.get("infinite", "refuse"),
    )
    given = {"x": np.array(values, dtype), "other": np.array(values, dtype)}
    got = (sanitiser or sanitise.Sanitiser()).apply(
        "sha256:d", policy, given, lambda name, at: f"rows[{at}].{name}"
    )
    assert got["other"].dtype == given["other"].dtype
    return got["x"]


def test_what_needs_no_change_is_the_same_array() -> None:
    policy = inputs.InputPolicy(columns={"x": inputs.ColumnPolicy(low=0, high=1, out_of_range="clip")})
    given = {"x": np.float32([0, 1, np.nan]), "y": np.float64([7]), "s": np.array(["a"], object)}
    assert sanitise.Sanitiser().apply("d", policy, given, lambda n, i: n) is given


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_infinity_is_refused_or_missing(dtype: Any) -> None:
    for value in (np.inf, -np.inf):
        with pytest.raises(errors.InvalidRequest, match=r"`rows\[1\]\.x` is infinite") as refused:
            applied([1, value], dtype)
        assert refused.value.field == "rows[1].x"
    sanitiser = sanitise.Sanitiser()
    np.testing.assert_array_equal(
        applied([1, np.inf], dtype, sanitiser, infinite="missing"), dtype([1, np.nan])
    )
    assert sanitiser.counts()["sha256:d", "x", "missing"] == 1


def test_a_missing_value_is_refused_where_the_model_needs_it() -> None:
    for values, dtype in (([1.0, np.nan], np.float32), (["a", None], object), (["a", ""], object)):
        assert len(applied(values, dtype)) == 2
        with pytest.raises(errors.InvalidRequest, match=r"`rows\[1\]\.x` is missing"):
            applied(values, dtype, missing="refuse")
    with pytest.raises(errors.InvalidRequest, match="is missing"):
        applied([np.inf], np.float32, missing="refuse", infinite="missing")
    assert applied([1, 2], np.int64, missing="refuse").tolist() == [1, 2]


@pytest.mark.parametrize(
    ("action", "expected"),
    [("accept", [-5, 0, 10, 11]), ("warn", [-5, 0, 10, 11]), ("clip", [0, 0, 10, 10])],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_values_out_of_range_by_action(action: Action, expected: list[int], dtype: Any) -> None:
    sanitiser = sanitise.Sanitiser()
    got = applied([-5, 0, 10, 11], dtype, sanitiser, low=0, high=10, out_of_range=action)
    assert got.tolist() == expected and got.dtype == dtype
    assert sanitiser.counts() == ({} if action == "accept" else {("sha256:d", "x", action): 2})
    with pytest.raises(
        errors.InvalidRequest, match=r"`rows\[0\]\.x` is -5, training saw 0 to 10; correct the value"
    ):
        applied([-5, 0, 10, 11], dtype, low=0, high=10, out_of_range="refuse")


def test_bounds_of_one_side_of_fractions_and_of_large_whole_numbers() -> None:
    assert applied([-1, 9], np.float32, low=0, out_of_range="clip").tolist() == [0, 9]
    assert applied([-1, 9], np.float32, high=0, out_of_range="clip").tolist() == [-1, 0]
    assert applied([0, 9], np.int64, low=0.5, high=3.7, out_of_range="clip").tolist() == [1, 3]
    big = 2**62 + 1
    assert applied([big, -9], np.int64, low=0, out_of_range="clip").tolist() == [big, 0]
    assert np.isnan(applied([np.nan], np.float32, low=0, high=1, out_of_range="refuse")).all()


@pytest.mark.parametrize("declared", [{"is_pii": True}, {"classification": "restricted"}])
def test_of_a_column_that_is_not_for_everybody_neither_value_nor_range_is_told(
    declared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        applied([-5], np.float32, low=7, high=10, out_of_range="refuse", **declared)
    assert (
        refused.value.message == "`rows[0].x` is outside of what training saw; correct the value or its unit"
    )
    with caplog.at_level(logging.WARNING):
        applied([-5], np.float32, low=7, high=10, **declared)
    (said,) = (r.getMessage() for r in caplog.records)
    assert said.startswith("`rows[0].x` is outside of what training saw; it is taken") and "-5" not in said


def test_a_warning_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    sanitiser = sanitise.Sanitiser(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for now[0] in (0.0, 30.0, 59.0, 61.0):
            applied([5], np.float32, sanitiser, low=0, high=1)
    assert [r.getMessage() for r in caplog.records] == [
        "`rows[0].x` is 5, training saw 0 to 1; it is taken as it is (bundle sha256:d)"
    ] * 2
    assert sanitiser.counts()["sha256:d", "x", "warn"] == 4


def test_a_policy_whose_bounds_are_swapped_is_none() -> None:
    with pytest.raises(ValueError, match="`low` 2 is above `high` 1"):
        inputs.ColumnPolicy(low=2, high=1)


POLICY = inputs.InputPolicy(
    columns={
        "distance": inputs.ColumnPolicy(low=0, high=5000, out_of_range="refuse"),
        "distance_km": inputs.ColumnPolicy(low=0, high=1000, out_of_range="clip"),
        "carrier": inputs.ColumnPolicy(missing="refuse"),
    }
)
ROW: dict[str, Any] = {
    "carrier": "UA",
    "origin_stats__mean_delay": 1.5,
    "origin_stats__weather": "fog",
    "flight_stats__mean_delay": 0.25,
    "distance": 100.0,
    "distance_km": 160.9,
}


@dataclasses.dataclass(frozen=True)
class House:
    bundle: world.World
    url: str
    grpc_port: int

    def json(self, path: str, document: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=document, trust_env=False)

    def row(self, protocol: str, **changes: Any) -> str:
        """The error of one row over a protocol; "" if it was answered."""
        row = {**ROW, **changes}
        if protocol == "predict":
            answer = self.json(PREDICT, {"rows": [row]})
            return "" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['detail']}"
        library, at = (
            (triton_grpc, f"127.0.0.1:{self.grpc_port}")
            if protocol == "grpc"
            else (triton_http, self.url.removeprefix("http://"))
        )
        tensors = [
            library.InferInput(n, [1], "FP32" if isinstance(v, float) else "BYTES").set_data_from_numpy(
                np.array([v or ""], np.float32 if isinstance(v, float) else object)
            )
            for n, v in row.items()
        ]
        client = library.InferenceServerClient(at)
        try:
            client.infer("flights", tensors)
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"
        finally:
            client.close()
        return ""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    bundle, port = world.World(input_policy=POLICY), access_world.free_port()
    lenient = world.World(
        name="lenient", input_policy=inputs.InputPolicy(unknown_fields="ignore", infinite="missing")
    )
    with world.serve(
        tmp_path_factory.mktemp("sane"), bundle, lenient, grpc_port=port, max_body_bytes=20_000
    ) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            for name, one in (("flights", bundle), ("lenient", lenient)):
                c.load_bundle(one.digest)
                c.set_traffic(TrafficTable(endpoint=name, version=1, stable=one.digest))
        yield House(bundle, served.url, port)


PROTOCOLS = pytest.mark.parametrize("protocol", ["predict", "rest", "grpc"])


@pytest.mark.integration
@PROTOCOLS
def test_every_protocol_refuses_and_clips_alike(house: House, protocol: str) -> None:
    assert house.row(protocol) == ""
    refusal = house.row(protocol, distance=5001.0)
    assert "distance` is 5001, training saw 0 to 5000" in refusal or "distance[0]` is 5001" in refusal
    assert refusal.startswith(("400", "StatusCode.INVALID_ARGUMENT"))
    assert "is missing, the model needs it" in house.row(protocol, carrier=None)
    house.bundle.seen.clear()
    assert house.row(protocol, distance_km=2000.0) == ""
    assert house.bundle.seen[-1]["distance_km"].tolist() == [1000.0]
    if protocol != "predict":  # which has no infinity: JSON
        assert "is infinite" in house.row(protocol, distance_km=float("inf"))


@pytest.mark.integration
@PROTOCOLS
def test_every_protocol_refuses_what_it_does_not_know(house: House, protocol: str) -> None:
    refusal = house.row(protocol, humidity=1.0)
    assert "unknown field `humidity`" in refusal or "unknown input `humidity`" in refusal


@pytest.mark.integration
@PROTOCOLS
def test_every_protocol_refuses_large_bodies_before_reading_them(house: House, protocol: str) -> None:
    refusal = house.row(protocol, carrier="U" * 30_000)
    assert refusal.startswith(("413", "StatusCode.RESOURCE_EXHAUSTED")), refusal


@pytest.mark.integration
def test_entities_and_overrides_are_sanitised_and_counted(house: House) -> None:
    asked: dict[str, Any] = {"as_of": world.AS_OF, "entities": [world.entity(), world.entity(distance=-1.0)]}
    answer = house.json(PREDICT, asked)
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "entities[1].distance")
    asked = {"as_of": world.AS_OF, "entities": [world.entity()] * 2, "overrides": {"distance_km": 3000}}
    assert house.json(PREDICT, asked).status_code == 200
    assert house.bundle.seen[-1]["distance_km"].tolist() == [1000.0, 1000.0]
    metrics = httpx.get(house.url + "/metrics", trust_env=False).text
    assert (
        f'mainspring_input_values_total{{action="clip",bundle="{house.bundle.digest}",column="distance_km"}}'
        in metrics
    )
    assert (
        f'mainspring_input_values_total{{action="refuse",bundle="{house.bundle.digest}",column="distance"}}'
        in metrics
    )


@pytest.mark.integration
def test_a_bundle_may_ignore_fields_and_take_infinities_as_missing(house: House) -> None:
    path = "/v1/endpoints/lenient:predict"
    assert house.json(path, {"rows": [{**ROW, "humidity": 1.0}]}).status_code == 200
    asked = {"as_of": world.AS_OF, "entities": [world.entity(humidity=1)], "overrides": {"humidity": 1}}
    assert house.json(path, asked).status_code == 200
