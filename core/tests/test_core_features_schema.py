"""Feature schemas refuse what a store could not answer truthfully, and name the nearest thing that exists."""

from __future__ import annotations

import pydantic
import pytest

from mainspring.core import errors, ports
from mainspring.core.features import schema

_ORIGIN = schema.Column(name="origin", dtype="string")
_DELAY = schema.Column(name="delay", dtype="float32")


def _view(name: str = "origin_dep", *keys: schema.Column, ttl: int | None = 60) -> schema.FeatureView:
    return schema.FeatureView(name=name, keys=keys or (_ORIGIN,), fields=(_DELAY,), ttl_seconds=ttl)


def test_a_schema_survives_json() -> None:
    service = schema.FeatureService(name="s", views=(_view(), _view("other", ttl=None)))
    assert schema.FeatureService.model_validate_json(service.model_dump_json()) == service


def test_joined_columns_are_named_after_their_view() -> None:
    service = schema.FeatureService(name="s", views=(_view(),))
    assert [c.name for c in service.columns] == ["origin_dep__delay"]
    assert [c.name for c in service.keys] == ["origin"]


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_a_field_must_be_able_to_say_missing(dtype: ports.FieldType) -> None:
    with pytest.raises(pydantic.ValidationError, match="cannot say missing"):
        schema.FeatureView(name="v", keys=(_ORIGIN,), fields=(schema.Column(name="n", dtype=dtype),))


def test_a_float_key_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="keys are string or int64"):
        _view("v", schema.Column(name="k", dtype="float64"))


def test_a_column_named_twice_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="twice"):
        _view("v", schema.Column(name="delay", dtype="string"))


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_ttl_is_positive(ttl: int) -> None:
    with pytest.raises(pydantic.ValidationError):
        _view(ttl=ttl)


def test_one_key_has_one_type_in_a_service() -> None:
    service = schema.FeatureService(
        name="s", views=(_view("a"), _view("b", schema.Column(name="origin", dtype="int64")))
    )
    with pytest.raises(errors.SchemaMismatch) as caught:
        _ = service.keys
    assert (caught.value.feature, caught.value.expected, caught.value.got) == ("origin", "string", "int64")


def test_unknown_names_come_back_with_close_ones() -> None:
    service = schema.FeatureService(name="s", views=(_view(),))
    with pytest.raises(errors.NotFound) as view:
        service.view("origin_depp")
    assert view.value.did_you_mean == ("origin_dep",)
    with pytest.raises(errors.NotFound) as field:
        service.view("origin_dep").field("dealy")
    assert field.value.did_you_mean == ("delay",)


def test_a_view_registers_online_with_the_same_ttl_and_fields() -> None:
    online = _view(ttl=3600).online
    assert online == ports.ViewSchema("origin_dep", ("origin",), (("delay", "float32"),), 3600)
