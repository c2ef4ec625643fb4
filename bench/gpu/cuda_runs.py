"""The CUDA library's kernels through its C ABI, by ctypes."""

from __future__ import annotations

import ctypes
import functools
import pathlib
import runpy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mainspring import native
from mainspring.bench.gpu import cases
from mainspring.bench.gpu.driver import Device, DeviceArray
from mainspring.bench.gpu.runs import Run

__all__ = ["Batch", "DenseSpec", "Events", "Jagged", "Library", "NoLibrary", "find", "runs"]

VERSION = 1
MAX_EVENTS = 16


class NoLibrary(Exception):
    """The CUDA library is not here and cannot be built; the message says why."""


class Events(ctypes.Structure):
    """MainspringCudaEvents."""

    _fields_ = [
        ("offsets", ctypes.c_uint64), ("is_wide", ctypes.c_int32), ("size", ctypes.c_size_t),
        ("times", ctypes.c_uint64), ("values", ctypes.c_uint64),
    ]  # fmt: skip


class Batch(ctypes.Structure):
    """MainspringCudaBatch."""

    _fields_ = [
        ("n_rows", ctypes.c_size_t), ("floats", ctypes.c_uint64), ("float_stride", ctypes.c_size_t),
        ("ints", ctypes.c_uint64), ("int_stride", ctypes.c_size_t), ("events", Events * MAX_EVENTS),
        ("dense", ctypes.c_uint64), ("ids", ctypes.c_uint64), ("ids_stride", ctypes.c_size_t),
        ("bad_row", ctypes.c_uint64),
    ]  # fmt: skip


class Jagged(ctypes.Structure):
    """MainspringCudaJagged."""

    _fields_ = [
        ("n_rows", ctypes.c_size_t), ("offsets", ctypes.c_uint64), ("is_wide", ctypes.c_int32),
        ("n_values", ctypes.c_size_t), ("max_length", ctypes.c_size_t), ("words", ctypes.c_size_t),
        ("padding", ctypes.c_uint32 * 2),
    ]  # fmt: skip


class DenseSpec(ctypes.Structure):
    """MainspringCudaDenseSpec."""

    _fields_ = [
        ("width", ctypes.c_size_t),
        *(
            (name, ctypes.c_void_p)
            for name in ("source", "indicator", "log1p", "fill", "lower", "upper", "mean", "scale")
        ),
    ]


_POINTER, _SIZE = ctypes.c_uint64, ctypes.c_size_t
_SIGNATURES: dict[str, list[Any]] = {
    "ProgramCreate": [ctypes.c_char_p, _SIZE, ctypes.POINTER(ctypes.c_void_p)],
    "ProgramRun": [ctypes.c_void_p, ctypes.POINTER(Batch), ctypes.c_void_p],
    "DenseCreate": [ctypes.POINTER(DenseSpec), ctypes.POINTER(ctypes.c_void_p)],
    "DenseRun": [ctypes.c_void_p, _POINTER, _SIZE, _SIZE, _POINTER, ctypes.c_void_p],
    "JaggedToPaddedDense": [ctypes.POINTER(Jagged), _POINTER, _POINTER, _POINTER, ctypes.c_void_p],
    "DenseToJagged": [ctypes.POINTER(Jagged), _POINTER, _POINTER, _POINTER, ctypes.c_void_p],
    "GatherRows": [
        _POINTER, _SIZE, _POINTER, _SIZE, _SIZE, ctypes.POINTER(ctypes.c_uint32), _POINTER, _POINTER, ctypes.c_void_p
    ],
    "ScatterRows": [_POINTER, _POINTER, _SIZE, _SIZE, _SIZE, _POINTER, _POINTER, ctypes.c_void_p],
}  # fmt: skip


class Library:
    """The library, with its errors as exceptions. NoLibrary where it is of another version."""

    def __init__(self, path: pathlib.Path) -> None:
        try:
            self._library = ctypes.CDLL(str(path.resolve()))
        except OSError as error:
            raise NoLibrary(f"`{path}` cannot be loaded: {error}") from None
        version = self._library.MainspringCudaVersion()
        if version != VERSION:
            raise NoLibrary(f"`{path}` is of version {version}, expected {VERSION}; build it anew")
        self._library.MainspringCudaStatusText.restype = ctypes.c_char_p
        for name, arguments in _SIGNATURES.items():
            getattr(self._library, f"MainspringCuda{name}").argtypes = arguments

    def call(self, name: str, *arguments: Any) -> None:
        """MainspringCuda<name>; RuntimeError with the library's words unless it says ok."""
        status = getattr(self._library, f"MainspringCuda{name}")(*arguments)
        if status != 0:
            text = self._library.MainspringCudaStatusText(status).decode()
            raise RuntimeError(f"`MainspringCuda{name}` said {status}: {text}")


def find(given: pathlib.Path | None, folder: pathlib.Path) -> pathlib.Path:
    """The library that was named, or one made in `folder` with nvcc."""
    if given is not None:
        return given
    script = pathlib.Path(next(iter(native.__path__))) / "cuda" / "build.py"
    if not script.exists():
        raise NoLibrary("an installed wheel has no CUDA sources; name a library with --library")
    build = runpy.run_path(str(script))
    if build["NVCC"] is None:
        raise NoLibrary("nvcc is not installed; name a library with --library")
    return pathlib.Path(build["library"](folder))


def runs(device: Device, library: Library, rows: int) -> Iterator[Callable[[], Run]]:
    """Makers of runs, so that one case's memory is gone before the next one's is taken."""
    for make in (_program, _dense, _pad, _unpad, _gather, _scatter):
        yield functools.partial(make, device, library, rows)


def _program(device: Device, library: Library, rows: int) -> Run:
    case = cases.program_case(rows)
    program = ctypes.c_void_p()
    library.call("ProgramCreate", case.plan.image, len(case.plan.image), ctypes.byref(program))
    floats, ints = device.put(case.floats), device.put(case.ints)
    offsets, times, values = (
        device.put(a) for a in (case.batch.offsets, case.batch.times, case.batch.values)
    )
    dense, ids = device.empty(case.dense.shape, np.float32), device.empty(case.ids.shape, np.int32)
    bad_row = device.empty((1,), np.int64)
    batch = Batch(
        n_rows=rows, floats=floats.pointer, float_stride=rows, ints=ints.pointer, int_stride=rows,
        dense=dense.pointer, ids=ids.pointer, ids_stride=rows, bad_row=bad_row.pointer,
    )  # fmt: skip
    batch.events[0] = Events(
        offsets=offsets.pointer, is_wide=int(case.batch.offsets.dtype == np.int64), size=len(case.batch.times),
        times=times.pointer, values=values.pointer,
    )  # fmt: skip

    def launch() -> None:
        library.call("ProgramRun", program, ctypes.byref(batch), None)

    owned = (floats, ints, offsets, times, values, dense, ids, bad_row)
    outputs = {"dense": (dense, case.dense), "ids": (ids, case.ids)}
    return Run(f"cuda/program/{rows}", launch, case.bytes, outputs, bad_row, owned)


def _dense(device: Device, library: Library, rows: int) -> Run:
    case = cases.dense_case(rows)
    types = {"source": np.int32, "indicator": np.uint8, "log1p": np.uint8}
    arrays = {name: np.array(values, types.get(name, np.float64)) for name, values in case.spec.items()}
    spec = DenseSpec(
        width=len(case.spec["source"]), **{name: array.ctypes.data for name, array in arrays.items()}
    )
    program = ctypes.c_void_p()
    library.call("DenseCreate", ctypes.byref(spec), ctypes.byref(program))
    columns, out = device.put(case.columns), device.empty(case.out.shape, np.float32)

    def launch() -> None:
        library.call("DenseRun", program, columns.pointer, rows, rows, out.pointer, None)

    return Run(f"cuda/dense/{rows}", launch, case.bytes, {"out": (out, case.out)}, None, (columns, out))


def _pad(device: Device, library: Library, rows: int) -> Run:
    return _jagged(device, library, rows, is_pad=True)


def _unpad(device: Device, library: Library, rows: int) -> Run:
    return _jagged(device, library, rows, is_pad=False)


def _jagged(device: Device, library: Library, rows: int, *, is_pad: bool) -> Run:
    case = cases.jagged_case(rows)
    offsets, bad_row = device.put(case.offsets), device.empty((1,), np.int64)
    values = device.put(case.values) if is_pad else device.empty(case.values.shape, np.int32)
    dense = device.empty(case.dense.shape, np.int32) if is_pad else device.put(case.dense)
    n_rows, max_length = case.dense.shape
    bits = cases.PADDING % 2**32
    shape = Jagged(
        n_rows=n_rows, offsets=offsets.pointer, is_wide=1, n_values=len(case.values), max_length=max_length,
        words=1, padding=(bits, bits),
    )  # fmt: skip
    name = "JaggedToPaddedDense" if is_pad else "DenseToJagged"
    from_, to = (values, dense) if is_pad else (dense, values)

    def launch() -> None:
        library.call(name, ctypes.byref(shape), from_.pointer, to.pointer, bad_row.pointer, None)

    outputs = {"dense": (dense, case.dense)} if is_pad else {"values": (values, case.values)}
    label = "jagged_to_padded_dense" if is_pad else "dense_to_jagged"
    return Run(
        f"cuda/{label}/{n_rows}", launch, case.bytes, outputs, bad_row, (offsets, bad_row, values, dense)
    )


def _gather(device: Device, library: Library, rows: int) -> Run:
    case, table, order, out, bad_row = _moved(device, rows)
    padding = (ctypes.c_uint32 * 2)(0, 0)
    n, words = case.dense.shape

    def launch() -> None:
        library.call(
            "GatherRows",
            table.pointer,
            n,
            order.pointer,
            n,
            words,
            padding,
            out.pointer,
            bad_row.pointer,
            None,
        )

    outputs = {"out": (out, case.dense[case.order])}
    return Run(
        f"cuda/gather_rows/{n}", launch, case.move_bytes, outputs, bad_row, (table, order, out, bad_row)
    )


def _scatter(device: Device, library: Library, rows: int) -> Run:
    case, table, order, out, bad_row = _moved(device, rows)
    n, words = case.dense.shape
    want = np.empty_like(case.dense)
    want[case.order] = case.dense

    def launch() -> None:
        library.call(
            "ScatterRows", table.pointer, order.pointer, n, words, n, out.pointer, bad_row.pointer, None
        )

    owned = (table, order, out, bad_row)
    return Run(f"cuda/scatter_rows/{n}", launch, case.move_bytes, {"out": (out, want)}, bad_row, owned)


def _moved(
    device: Device, rows: int
) -> tuple[cases.JaggedCase, DeviceArray, DeviceArray, DeviceArray, DeviceArray]:
    case = cases.jagged_case(rows)
    return (
        case, device.put(case.dense), device.put(case.order), device.empty(case.dense.shape, np.int32),
        device.empty((1,), np.int64),
    )  # fmt: skip
