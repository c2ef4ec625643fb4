"""What the description allows, and what it does not, sent to a real server: no 5xx but 503 and 504, documented answers only.

schemathesis makes the requests and holds the answers against the description. Every operation is asked by an admin; that
others are refused is another test's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import numpy as np
import pytest
import schemathesis
import serving_tensors as tensors
import serving_world as world
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks

from mainspring.core import ports
from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable

#: Requests an operation: of each kind, those that the description allows and those that it does not.
EXAMPLES = 5

ALLOWED = schemathesis.GenerationMode.POSITIVE

CHECKS: list[Any] = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

#: Names that are there, so that not every path ends in 404.
NAMES = {
    "name": st.sampled_from(["flights", "linear"]),
    "version": st.just("1"),
    "view": st.just("origin_stats"),
}

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
)
_KEYS = st.sampled_from(["JFK", "LGA"]) | st.text(max_size=9) | st.integers(-(2**63), 2**63 - 1)
_FIELDS = ("origin", "carrier", "flight", "distance", "dep_us")


def _near(document: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The entity of `serving_world` with a few of its fields changed."""
    changes = st.dictionaries(st.sampled_from(_FIELDS), _SCALARS, max_size=2)
    return changes.map(lambda changed: {**document, **changed})


_ASKED = st.just({"entities": [world.entity()]}) | st.fixed_dictionaries(
    {"entities": st.lists(_near(world.entity()), max_size=4)}
)
_TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y"]),
        "datatype": st.sampled_from(["FP32", "FP32", "INT8", "BYTES"]),
        "shape": st.sampled_from([[1, 8], [0, 8], [2, 4], [2**62, 8], [-1, 8], []]),
        "data": st.lists(st.floats(allow_nan=False, width=32) | _SCALARS, min_size=8, max_size=8),
    }
)

#: Bodies that get further than what is made of the description alone.
BODIES: dict[str, st.SearchStrategy[Any]] = {
    "POST /v1/endpoints/{name}:predict": _ASKED,
    "POST /v1/endpoints/{name}:explain": _ASKED,
    "POST /v1/features:read": st.fixed_dictionaries(
        {
            "features": st.lists(
                st.sampled_from(["origin_stats:mean_delay", "origin_stats:weather", "nothing:at_all", ":"]),
                min_size=1,
            ),
            "entities": st.fixed_dictionaries({"origin": st.lists(_KEYS | st.none(), max_size=3)}),
        }
    ),
    "POST /v1/features/{view}:push": st.fixed_dictionaries(
        {
            "view": st.just("origin_stats"),
            "keys": st.fixed_dictionaries({"origin": st.lists(_KEYS, min_size=1, max_size=2)}),
            "event_times": st.lists(st.just(world.AS_OF), min_size=1, max_size=2),
            "columns": st.fixed_dictionaries(
                {"mean_delay": st.lists(_SCALARS, max_size=2), "weather": st.lists(_SCALARS, max_size=2)}
            ),
        }
    ),
    "POST /v2/models/{name}/infer": st.fixed_dictionaries({"inputs": st.lists(_TENSOR, max_size=2)}),
    "PUT /v1/endpoints/{name}/traffic": st.fixed_dictionaries(
        {
            "endpoint": st.just("flights"),
            "version": st.sampled_from([2, 2, 3, 1, 0]),
            "stable": st.sampled_from([world.World().digest, "sha256:" + "0" * 64]),
        }
    ),
    "PUT /v1/limits": st.fixed_dictionaries(
        {
            "version": st.integers(0, 3),
            "rules": st.lists(st.fixed_dictionaries({"rows_per_second": st.floats(0.1, 1e9)}), max_size=1),
        }
    ),
}


def _bounded(batch: ports.ModelInput) -> Any:
    """A score for whatever numbers come."""
    return 0.5 + np.arctan(np.nan_to_num(batch.dense).mean(axis=1, dtype=np.float64)) / np.pi


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A server that demands tokens, with an endpoint, a model, and the admin's header."""
    bundle = world.World(function=_bounded)
    with world.serve(
        tmp_path_factory.mktemp("schemathesis"),
        bundle,
        models={"linear": tensors.network},
        require_token=True,
        front="on",
        max_body_bytes=1 << 16,
    ) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            c.load_bundle(bundle.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        yield served.url, {"authorization": f"Bearer {served.tokens.token_of('admin@local')}"}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_request_breaks_the_server_or_its_description(house: tuple[str, dict[str, str]]) -> None:
    url, headers = house
    config = schemathesis.Config.from_dict({"base-url": url})
    api = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) > 35
    # Limits come last: once set, they refuse everybody.
    operations.sort(
        key=lambda operation: operation.path == "/v1/limits" and operation.method.lower() == "put"
    )
    statuses: dict[str, set[int]] = {}
    failures: list[str] = []
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as alive:
        for operation in operations:
            seen = statuses.setdefault(operation.label, set())
            for mode in (ALLOWED, schemathesis.GenerationMode.NEGATIVE, None):
                try:
                    _ask(operation, mode, headers, seen)
                except hypothesis.errors.Unsatisfiable:
                    continue  # nothing of this operation can be wrong
                except BaseExceptionGroup as group:
                    failures += [f"{operation.label} {mode}: {e}" for e in group.exceptions]
                except AssertionError as error:
                    failures.append(f"{operation.label} {mode}: {error}")
            assert alive.get("/healthz").status_code == 200, operation.label
    assert not failures, "\n\n".join(failures)
    assert {status for found in statuses.values() for status in found} >= {200, 400, 404, 409, 422}
    # Deep enough to be answered, not only refused at the door.
    for label in (
        "POST /v1/endpoints/{name}:predict",
        "POST /v1/features:read",
        "PUT /v1/endpoints/{name}/traffic",
    ):
        assert 200 in statuses[label], (label, statuses[label])


def _ask(
    operation: Any, mode: schemathesis.GenerationMode | None, headers: dict[str, str], seen: set[int]
) -> None:
    """`mode` None: bodies near a good one, where there are some."""
    if mode is None and operation.label not in BODIES:
        return
    kind = {} if mode is not None else {"media_type": "application/json", "body": {}}
    strategy = operation.as_strategy(generation_mode=mode or ALLOWED, **kind)

    @hypothesis.given(strategy, st.data())
    @hypothesis.settings(
        max_examples=EXAMPLES if mode is not None else 4 * EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    def ask(case: Any, data: st.DataObject) -> None:
        for name, names in NAMES.items():
            if name in case.path_parameters and (mode is None or data.draw(st.booleans())):
                case.path_parameters[name] = data.draw(names)
        if mode is None:
            case.body = data.draw(BODIES[operation.label])
            case.headers.clear()  # a deadline would end what should be seen to its end
            if "name" in case.path_parameters:
                case.path_parameters["name"] = "linear" if "/v2/" in operation.path else "flights"
        response = case.call(headers=headers, timeout=20)
        seen.add(response.status_code)
        assert response.status_code < 500 or response.status_code in (503, 504), (
            case.as_curl_command(),
            response.text,
        )
        case.validate_response(response, checks=CHECKS)

    ask()
