"""Canonical JSON: one form per value, stable names for ever."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import canonical, errors

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_golden() -> None:
    value = {"b": [1, 2.5, "ü"], "a": {"z": None, "y": True}}
    assert canonical.dumps(value) == '{"a":{"y":true,"z":null},"b":[1,2.5,"ü"]}'.encode()
    assert canonical.digest({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_key_order_does_not_matter(value: dict[str, object]) -> None:
    assert canonical.digest(value) == canonical.digest(dict(reversed(value.items())))


@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, {"a": -math.inf}, {1: 2}, {"a": {True: 1}}, {1, 2}, b"x"]
)
def test_refuses_what_json_lacks(bad: object) -> None:
    with pytest.raises(errors.InvalidRequest, match="; |string keys"):
        canonical.dumps(bad)


def test_tree_digest_sees_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = canonical.digest_tree(tmp_path)
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    second = canonical.digest_tree(tmp_path)
    (tmp_path / "a" / "y").write_text("2")
    assert len({first, second, canonical.digest_tree(tmp_path)}) == 3
