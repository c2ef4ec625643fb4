"""The ways in which this process could run a bundle's model beside the one that the settings name."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mainspring.core import ports
from mainspring.core.features import program
from mainspring.core.models import bundle
from mainspring.core.models import runtimes as known
from mainspring.serving.runtimes import by_rows, policy

if TYPE_CHECKING:
    from mainspring.core.models import torch_runtime

_DTYPES: Final = ("bfloat16", "float16")

#: Of the time there is, a compile may take so much; the rest is for measuring.
_COMPILE_SHARE: Final = 0.8

Build = Callable[[], ports.ModelRuntime]


@dataclass(frozen=True)
class Offer:
    """A candidate, and what builds it; whatever stands in its way is raised by that.

    `is_light`: building it copies no weights.
    """

    candidate: policy.Candidate
    build: Build
    is_light: bool


@dataclass(frozen=True)
class Offers:
    """The `reference` is the runtime that was built as the settings say."""

    reference: policy.Candidate
    others: tuple[Offer, ...] = ()


def cpu() -> policy.Device:
    """The cores that this process may use."""
    return policy.Device("cpu", units=len(os.sched_getaffinity(0)))


def offers(
    opened: bundle.Bundle,
    compiled: program.Program,
    runtime: ports.ModelRuntime,
    options: known.Options,
    *,
    tolerances: Mapping[str, float],
    device: policy.Device,
    seconds: float,
) -> Offers:
    """By what runs the bundle now; `device` is the CPU. Ensembles and functions have no other way.

    What takes long to build is offered where most of `seconds`, the time there is in all, is enough for it.

    Dtypes are tried where the bundle's `tolerances` name them, and only of networks that torch runs: a program of
    `torch.export` and a graph have theirs written into them.
    """
    if runtime.name in ("native", "trees"):
        reference = policy.Candidate(runtime.name, device)
        cut = tuple(
            Offer(
                dataclasses.replace(reference, threads=threads),
                functools.partial(by_rows.ByRowsRuntime, runtime, threads),
                is_light=True,
            )
            for threads in _threads(device, 1)
        )
        return Offers(reference, cut)
    if runtime.name == "onnx":
        reference = policy.Candidate("onnx", device, options.onnx_threads)
        return Offers(
            reference,
            tuple(
                Offer(
                    dataclasses.replace(reference, threads=threads),
                    functools.partial(
                        _rebuilt, opened, compiled, dataclasses.replace(options, onnx_threads=threads)
                    ),
                    is_light=False,
                )
                for threads in _threads(device, options.onnx_threads)
            ),
        )
    reference = policy.Candidate(runtime.name, device, options.torch_threads)
    if runtime.name == "torch_export":
        return Offers(reference, tuple(_of_program(opened, runtime, reference, seconds)))
    if runtime.name == "torch":
        network: Any = runtime
        return Offers(reference, tuple(_of_network(network, reference, tolerances)))
    return Offers(reference)


def _of_program(
    opened: bundle.Bundle, program: Any, reference: policy.Candidate, seconds: float
) -> Iterator[Offer]:
    for threads in _threads(reference.device, reference.threads):
        candidate = dataclasses.replace(reference, threads=threads)
        yield Offer(candidate, functools.partial(program.variant, threads=threads), is_light=True)
    from mainspring.core.models import aot

    compiles = _COMPILE_SHARE * seconds
    if compiles >= aot.LEAST_SECONDS and aot.has_compiler():
        yield Offer(
            policy.Candidate("aotinductor", reference.device),
            lambda: program.compiled(opened.weights, seconds=compiles),
            is_light=False,
        )


def _of_network(
    network: torch_runtime.TorchRuntime, reference: policy.Candidate, tolerances: Mapping[str, float]
) -> Iterator[Offer]:
    for threads in _threads(reference.device, reference.threads):
        candidate = dataclasses.replace(reference, threads=threads)
        yield Offer(candidate, functools.partial(network.variant, threads=threads), is_light=True)
    allowed = [dtype for dtype in _DTYPES if dtype in tolerances]
    for dtype in allowed:
        for threads in (reference.threads, *_threads(reference.device, reference.threads)):
            candidate = dataclasses.replace(reference, threads=threads, dtype=dtype)
            yield Offer(candidate, _variant(network, candidate), is_light=False)
    for device in _accelerators():
        for dtype in (policy.FULL, *allowed):
            candidate = policy.Candidate(reference.engine, device, 1, dtype)
            yield Offer(candidate, _variant(network, candidate), is_light=False)


def _variant(network: torch_runtime.TorchRuntime, candidate: policy.Candidate) -> Build:
    how: Any = {"threads": candidate.threads, "dtype": candidate.dtype, "device": candidate.device.name}
    return functools.partial(network.variant, **how)


def _accelerators() -> list[policy.Device]:
    """Those that torch lists: CUDA's. A batch on one waits for those before it."""
    import torch  # there already: one of its networks was loaded

    return [policy.Device(f"cuda:{i}", is_shared=False) for i in range(torch.cuda.device_count())]


def _threads(device: policy.Device, besides: int) -> list[int]:
    """1, 2, 4, ... up to the device's cores, and all of them."""
    powers = {1 << i for i in range(device.units.bit_length()) if 1 << i <= device.units}
    return sorted((powers | {device.units}) - {besides})


def _rebuilt(opened: bundle.Bundle, compiled: program.Program, options: known.Options) -> ports.ModelRuntime:
    return known.factories(options)[opened.kind](opened, compiled)
