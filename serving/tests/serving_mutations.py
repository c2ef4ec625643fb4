"""Bodies that are not what they were: what fuzzed clients and broken proxies send."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st


def mutated(data: st.DataObject, body: bytes, pieces: Sequence[bytes]) -> bytes:
    """`body` after up to three changes: cut off, cut out of, and with one of `pieces` put in or over a byte."""
    made = bytearray(body)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(made)))
        match data.draw(st.integers(0, 3)):
            case 0:
                del made[at:]
            case 1:
                del made[at : at + data.draw(st.integers(1, 12))]
            case 2:
                made[at:at] = data.draw(st.sampled_from(pieces))
            case _:
                made[at : at + 1] = data.draw(st.sampled_from(pieces))
    return bytes(made)
