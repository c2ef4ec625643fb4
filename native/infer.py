"""One native model's answers to infer requests of the v2 protocol, each by one call: body in, body out.

What the front answers without Python, for an app that received the body itself. See docs/adr/0032-infer-in-one-call.md.

    >>> import json
    >>> import numpy as np
    >>> from mainspring.native import front, infer, mlp
    >>> weights = mlp.make(2, [mlp.Layer(np.ones((1, 2), np.float32))])
    >>> counts = infer.Counts("sum", "1")
    >>> served = infer.model(front.Model("sum", "1", weights, input="x", output="y", max_rows=64), counts)
    >>> tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.5]}
    >>> body, json_length, rows = served.answer(json.dumps({"inputs": [tensor]}).encode(), None)
    >>> json.loads(body)["outputs"][0]["data"], json_length, rows, counts.sum().requests
    ([3.5], None, 1, 1)
    >>> served.answer(b"no request", None) is None
    True
"""

from __future__ import annotations

from typing import Final, TypeAlias, final

from mainspring.native import _native, front, status

__all__ = ["Counts", "InferModel", "model"]

#: `answer(body, json_length)` gives (body, json_length, rows), where a json_length of None says that all of it is JSON, here
#: and there; or None, and then nothing was counted: the request is wrong, unusual or too much work, and the app answers it or
#: says why not. Needs the GIL and holds it: thread-safe, one call at a time.
InferModel: TypeAlias = _native.InferModel

#: Work that is done at once; more is left to the app. What `serving` runs on its loop is as short.
SECONDS: Final = 200e-6


@final
class Counts:
    """What was answered of one name and version. It outlives its models, so that counts never fall. Thread-safe."""

    def __init__(self, name: str, version: str) -> None:
        self.native: Final = _native.InferCounts(name, version)

    def sum(self) -> front.ModelCounts:
        """`passed_on` is always 0: what was not answered is in the app's own book."""
        return front.ModelCounts(*self.native.sum())


def model(served: front.Model, counts: Counts, *, seconds: float = SECONDS) -> InferModel:
    """Answer for `served`, requests of up to about `seconds` of work, and count in `counts`.

    Errors: NativeError `bad_spec`, `bad_dtype` for a model that only the app can serve, `bad_spec` for `seconds` that are none.
    """
    if not 0 < seconds <= 60:
        raise status.NativeError("bad_spec", f"`seconds` is {seconds}; expected above 0 and up to 60")
    return _native.infer_model(served.written(), counts.native, seconds)
