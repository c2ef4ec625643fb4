"""The Triton kernels, compiled ahead of time for the card that is here and launched through the driver."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mainspring.bench.gpu import cases
from mainspring.bench.gpu.driver import Device, Function
from mainspring.bench.gpu.runs import Run

__all__ = ["runs"]

HIGH = 2**63 - 1


def runs(device: Device, folder: pathlib.Path, rows: int) -> Iterator[Callable[[], Run]]:
    """Makers of runs, so that one case's memory is gone before the next one's is taken."""
    from mainspring.native.triton import aot

    capability = device.capability
    made = aot.build(folder, [capability])

    def load(name: str) -> Function:
        about: dict[str, Any] = made[name][f"sm_{capability}"]
        if about["scratch_bytes"] != [0, 0]:
            raise AssertionError(f"`{name}` wants scratch memory: {about['scratch_bytes']}")
        return Function(
            device, (folder / about["file"]).read_bytes(), about["entry"], parameters=about["parameters"],
            threads=about["threads"], shared=about["dynamic_shared_bytes"],
        )  # fmt: skip

    for make in (_program, _dense, _bags, _pad, _unpad):
        yield functools.partial(make, device, load, rows)


def _program(device: Device, load: Callable[[str], Function], rows: int) -> Run:
    from mainspring.native.triton import program, windows

    case = cases.program_case(rows)
    header = case.plan.header
    n_floats, n_windows = header["n_floats"], header["n_windows"]
    by_16 = rows % 16 == 0 and case.plan.width % 16 == 0
    transform = load("program_by_16" if by_16 else "program")
    window = load("windows")  # CTR-48 has int32 offsets
    image = device.put(case.plan.words)
    columns = device.put(np.concatenate([case.floats, np.zeros((n_windows, rows), np.float32)]))
    window_columns = columns.pointer + 4 * n_floats * rows
    ints = device.put(case.ints)
    offsets, times, values = (
        device.put(a) for a in (case.batch.offsets, case.batch.times, case.batch.values)
    )
    dense, ids = device.empty(case.dense.shape, np.float32), device.empty(case.ids.shape, np.int32)
    bad_row = device.put(np.array([HIGH]))
    (group,) = case.plan.groups
    window_grid = (-(-rows // windows.BLOCK_ROWS), n_windows)
    grid = (program.grid(case.plan, rows),)

    def launch() -> None:
        window.launch(
            window_grid, plan=image, windows_at=header["windows_at"] // 8, events=group.events, as_of=group.as_of,
            ints=ints, int_stride=rows, offsets=offsets, times=times, values=values, n_values=times.shape[0],
            out=window_columns, out_stride=rows, bad_row=bad_row, n_rows=rows,
        )  # fmt: skip
        transform.launch(
            grid, plan=image, plan_i32=image, plan_f32=image, plan_i16=image, dense_at=header["dense_at"],
            ids_at=header["ids_at"], width=case.plan.width, n_ids=case.plan.n_ids, columns=columns,
            column_stride=rows, ints=ints, int_stride=rows, dense=dense, ids=ids, ids_stride=rows, n_rows=rows,
        )  # fmt: skip

    owned = (image, columns, ints, offsets, times, values, dense, ids, bad_row)
    outputs = {"dense": (dense, case.dense), "ids": (ids, case.ids)}
    return Run(f"triton/program/{rows}", launch, case.bytes, outputs, bad_row, owned)


def _dense(device: Device, load: Callable[[str], Function], rows: int) -> Run:
    from mainspring.native.triton import dense

    case = cases.dense_case(rows)
    kernel = load("dense")
    columns = device.put(case.columns)
    integers, floats = (device.put(a) for a in dense.pack(**case.spec))
    out = device.empty(case.out.shape, np.float32)
    width = case.out.shape[1]
    grid = (-(-rows // dense.BLOCK_ROWS), -(-width // dense.BLOCK_COLUMNS))

    def launch() -> None:
        kernel.launch(
            grid, columns=columns, column_stride=rows, integers=integers, floats=floats, out=out, n_rows=rows,
            width=width,
        )  # fmt: skip

    owned = (columns, integers, floats, out)
    return Run(f"triton/dense/{rows}", launch, case.bytes, {"out": (out, case.out)}, None, owned)


def _bags(device: Device, load: Callable[[str], Function], rows: int) -> Run:
    from mainspring.native.triton import embedding_bag

    case = cases.bag_case(rows)
    kernel = load("embedding_bag")
    table, indices, offsets = (device.put(a) for a in (case.table, case.indices, case.offsets))
    out = device.empty(case.out.shape, np.float32)
    bad_bag = device.put(np.array([HIGH]))
    n_bags, width = case.out.shape

    def launch() -> None:
        kernel.launch(
            (n_bags, -(-width // embedding_bag.BLOCK)), table=table, n_rows=len(case.table), width=width,
            indices=indices, n_indices=len(case.indices), offsets=offsets, is_mean=0, out=out, bad_bag=bad_bag,
        )  # fmt: skip

    owned = (table, indices, offsets, out, bad_bag)
    return Run(f"triton/embedding_bag/{n_bags}", launch, case.bytes, {"out": (out, case.out)}, bad_bag, owned)


def _pad(device: Device, load: Callable[[str], Function], rows: int) -> Run:
    return _jagged(device, load, rows, "jagged_to_padded_dense")


def _unpad(device: Device, load: Callable[[str], Function], rows: int) -> Run:
    return _jagged(device, load, rows, "dense_to_jagged")


def _jagged(device: Device, load: Callable[[str], Function], rows: int, name: str) -> Run:
    from mainspring.native.triton import jagged

    case = cases.jagged_case(rows)
    kernel = load(name)
    offsets = device.put(case.offsets)
    n_rows, max_length = case.dense.shape
    is_pad = name == "jagged_to_padded_dense"
    values = device.put(case.values) if is_pad else device.empty(case.values.shape, np.int32)
    dense = device.empty(case.dense.shape, np.int32) if is_pad else device.put(case.dense)
    bad_row = device.put(np.array([HIGH]))
    blocks = -(-n_rows // jagged.BLOCK_ROWS)
    grid = (blocks, -(-max_length // jagged.BLOCK_WORDS)) if is_pad else (blocks,)

    def launch() -> None:
        kernel.launch(
            grid, values=values, n_values=len(case.values), offsets=offsets, n_rows=n_rows, max_length=max_length,
            words=1, padding_even=cases.PADDING, padding_odd=cases.PADDING, dense=dense, bad_row=bad_row,
        )  # fmt: skip

    outputs = {"dense": (dense, case.dense)} if is_pad else {"values": (values, case.values)}
    owned = (offsets, values, dense, bad_row)
    return Run(f"triton/{name}/{n_rows}", launch, case.bytes, outputs, bad_row, owned)
