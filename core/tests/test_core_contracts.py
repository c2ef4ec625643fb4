"""Contracts: requests refuse what they do not know, messages ignore it; rules between fields."""

import pytest
from pydantic import ValidationError

from mainspring.core.contracts import control, deployment, prediction, training

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_requests_refuse_and_messages_ignore_unknown_fields() -> None:
    with pytest.raises(ValidationError):
        control.ProjectCreate.model_validate({"name": "ab", "owner": "o", "budgte": 3})
    request = training.TrainRequest.model_validate(
        {"run_id": "r", "project": "flight-delay", "requested_by": "x", "from_the_future": 1}
    )
    assert request.num_workers == 2


def test_predict_takes_one_form() -> None:
    with pytest.raises(ValidationError, match="either"):
        prediction.PredictRequest()
    with pytest.raises(ValidationError, match="either"):
        prediction.PredictRequest(entities=[{}], rows=[{}])
    with pytest.raises(ValidationError, match="overrides"):
        prediction.PredictRequest(rows=[{}], overrides={"a": 1})
    assert prediction.PredictRequest(entities=[{"a": 1}, {"a": 2}]).n_rows == 2


def test_times_need_a_zone() -> None:
    with pytest.raises(ValidationError, match="time zone"):
        prediction.PredictRequest.model_validate({"rows": [{}], "as_of": "2013-01-01T00:00:00"})


def test_traffic_table_rules() -> None:
    table = deployment.TrafficTable(endpoint="flight-delay", version=1, stable=A, canary=B, canary_percent=5)
    assert deployment.TrafficTable.model_validate_json(table.model_dump_json()) == table
    for bad in (
        {"canary": B},
        {"canary_percent": 5},
        {"canary": A, "canary_percent": 5},
        {"version": 0},
        {"stable": "x"},
    ):
        with pytest.raises(ValidationError):
            deployment.TrafficTable.model_validate(
                {"endpoint": "flight-delay", "version": 1, "stable": A} | bad
            )


def test_slugs() -> None:
    with pytest.raises(ValidationError, match="lowercase"):
        control.ProjectCreate(name="Bad Name", owner="o")
