"""Which tags are tags, which a project must have, and in which month something is billed that comes late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mainspring.core import errors, settings
from mainspring.core.contracts import control, tags
from mainspring.core.cost import closing, tagging

BOOK = settings.CostSettings(required_tags="team,cost-centre=a1|b2")


def made(given: Any) -> dict[str, str]:
    return control.ProjectCreate(name="alpha", owner="o", tags=given).tags


def test_tags_are_kept_in_the_order_of_their_keys() -> None:
    assert list(made({"team": "risk", "cost-centre": "=A1 Größe"}).items()) == [
        ("cost-centre", "=A1 Größe"),
        ("team", "risk"),
    ]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"Team": "x"}, "no key of a tag"),
        ({"": "x"}, "no key of a tag"),
        ({"a" * 64: "x"}, "no key of a tag"),
        ({"a,b": "x"}, "no key of a tag"),
        ({"a\n": "x"}, "no key of a tag"),
        ({"project": "x"}, "by itself"),
        ({"environment": "x"}, "by itself"),
        ({"team": ""}, "1 to 128"),
        ({"team": "x" * 129}, "1 to 128"),
        ({"team": " x"}, "no space around"),
        ({"team": "a\x00b"}, "that print"),
        ({"team": "a\nb"}, "that print"),
        ({"team": "(untagged)"}, "brackets"),
        ({f"k{i}": "x" for i in range(21)}, "at most 20"),
        ({"team": 3}, "string"),
        (["team"], "dictionary"),
    ],
)
def test_what_is_no_tag_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        made(given)


@pytest.mark.parametrize("written", ["Team", "team,", "team=", "team=a|", "team=(x)", ",", "a b"])
def test_settings_that_are_no_tags_are_refused(written: str) -> None:
    with pytest.raises(ValidationError):
        settings.CostSettings(required_tags=written)


def test_what_a_project_lacks_is_said_with_what_it_may_be() -> None:
    assert tagging.lacking({}, settings.CostSettings()) == {}
    assert tagging.lacking({"team": "x", "cost-centre": "b2"}, BOOK) == {}
    assert tagging.lacking({"cost-centre": "c3"}, BOOK) == {
        "team": "it has none, expected any value",
        "cost-centre": "it is `c3`, expected one of `a1`, `b2`",
    }
    with pytest.raises(errors.InvalidRequest, match=r"`team`: it has none.*--tag team=") as refused:
        tagging.require("alpha", {"cost-centre": "a1"}, BOOK)
    assert refused.value.field == "tags"
    assert tags.check_key("cost-centre") == "cost-centre"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("began", "now", "month"),
    [
        ("2026-11-30T23:59:59", "2026-11-30T23:59:59", ""),
        ("2026-11-30T23:59:59", "2026-12-03T23:59:59", ""),  # it is closed three days later
        ("2026-11-30T23:59:59", "2026-12-04T00:00:00", "2026-12"),
        ("2026-12-01T00:00:00", "2026-12-04T00:00:00", ""),
        ("2024-01-01T00:00:00", "2027-01-02T00:00:00", "2026-12"),  # December is the earliest that is open
        ("2027-05-01T00:00:00", "2026-12-04T00:00:00", ""),
    ],
)
def test_what_comes_late_is_billed_in_the_earliest_open_month(began: str, now: str, month: str) -> None:
    assert closing.billed_in(at(began), at(now), 3.0) == month


def test_a_month_is_closed_once_nothing_comes_any_more() -> None:
    assert not closing.is_closed("2026-11", at("2026-12-04T00:09:59"), 3.0)
    assert closing.is_closed("2026-11", at("2026-12-04T00:10:00"), 3.0)
    assert closing.month_before("2026-01") == "2025-12"
    for wrong in ("2026-13", "2026-1", "26-11", "", "0000-01", "9999-12", "2026-11-01", "\u0662026-11"):
        with pytest.raises(errors.InvalidRequest, match="no month"):
            closing.span_of(wrong)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.integers(-90, 900),
    st.floats(0, 60),
)
def test_nothing_is_ever_billed_in_a_closed_month(began: datetime, days: int, close_days: float) -> None:
    now = began + timedelta(days=days)
    month = closing.billed_in(began, now, close_days) or began.strftime("%Y-%m")
    assert not closing.is_closed(month, now, close_days)
