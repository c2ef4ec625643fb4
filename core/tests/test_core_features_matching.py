"""The matching against a brute-force reading of its words: null keys, ties, TTL, late knowledge, no keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import core_join_reference as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.features import matching


@settings(max_examples=200, deadline=None)
@given(
    st.lists(reference.ASKED, max_size=12), st.lists(reference.ROW, max_size=16), reference.TTL, st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_it_equals_brute_force(asked: Any, rows: Any, ttl: int | None, known_only: bool, keyed: bool) -> None:
    times = matching.Times("t", "e", "c", None if ttl is None else timedelta(minutes=ttl), known_only)
    got = matching.match(
        reference.questions(asked),
        reference.facts(rows).lazy(),
        keys=reference.KEYS if keyed else [],
        times=times,
        columns=["v"],
    )
    assert got["v"].to_list() == reference.brute_force(asked, rows, ttl, known_only, keyed)
