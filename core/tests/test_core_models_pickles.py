"""What runs code when it is read is found, whatever wraps it; what does not is left in peace."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from mainspring.core.models import pickles


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("false",)


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


def torch_saved(**options: Any) -> bytes:
    out = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, out, **options)
    return out.getvalue()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(protocol: int) -> None:
    assert pickles.is_pickle(pickle.dumps(Evil(), protocol))
    assert pickles.is_pickle(pickle.dumps([list(range(300)), Evil()], protocol))


def test_what_torch_and_numpy_pickle() -> None:
    assert pickles.is_pickle(torch_saved())
    assert pickles.is_pickle(torch_saved(_use_new_zipfile_serialization=False))
    objects = np.array([Evil(), None], object)
    for version in ((1, 0), (2, 0), (3, 0)):
        assert pickles.is_pickle(npy(objects, version))
        assert not pickles.is_pickle(npy(np.arange(3), version))
    assert pickles.is_pickle(npy(np.zeros(2, [("a", "<f4"), ("b", "O")])))
    assert not pickles.is_pickle(npy(np.frombuffer(b"'|O'" * 8, "<f4")))


def test_pickles_in_archives_however_deep() -> None:
    evil = pickle.dumps(Evil())
    assert pickles.is_pickle(zipped(harmless=b"{}", model=evil))
    assert pickles.is_pickle(zipped(inner=zipped(inner=zipped(model=evil))))
    assert not pickles.is_pickle(zipped(weights=np.ones(9, "<f4").tobytes(), inner=zipped(config=b"{}")))
    nested = b"{}"
    for _ in range(9):
        nested = zipped(inner=nested)
    assert pickles.is_pickle(nested), "nobody looks so deep"


def test_archives_that_cannot_be_looked_into() -> None:
    good = zipped(config=b"{}" * 100)
    assert pickles.is_pickle(good[:-10])
    assert pickles.is_pickle(good[:40] + b"\xff" + good[41:])
    assert pickles.is_pickle(zipped(zeros=bytes(80 << 20)))


def test_models_are_no_pickles() -> None:
    """Among them safetensors whose header has the length that reads as a pickle's mark."""
    marked = 0
    for padding in range(1400):
        data = safetensors.numpy.save({"w" + "x" * padding: np.arange(4, dtype=np.float32)})
        assert not pickles.is_pickle(data)
        marked += data[0] == 0x80 and data[1] in (2, 3, 4, 5)
    assert marked > 0
    for text in (b"", b"{}", b"# Card\n", b"tree\nversion=v4\n", b"(a)\nc os system\n.", b"I1\n."):
        assert not pickles.is_pickle(text)


def test_random_weights_are_no_pickles() -> None:
    random = np.random.default_rng(0)
    for _ in range(20_000):
        assert not pickles.is_pickle(random.bytes(64))
    for first in range(256):
        assert not pickles.is_pickle(struct.pack("<Bxxx", first) + random.bytes(64))
