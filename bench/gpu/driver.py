"""The CUDA driver by ctypes: memory, events, modules and launches, and nothing else.

The locked torch has no CUDA, and Triton's own launcher wants a C compiler on the machine; the driver is wherever a GPU is. All
work goes to the null stream of the first device's primary context, which the CUDA library's runtime uses, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = ["Device", "DeviceArray", "DriverError", "Function", "NoDevice"]

_POINTER = ctypes.c_uint64  # CUdeviceptr
_HANDLE = ctypes.c_void_p
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*

_INTEGERS: Final[dict[str, Any]] = {"i32": ctypes.c_int32, "i64": ctypes.c_int64}

_SIGNATURES: Final[dict[str, list[Any]]] = {
    "cuInit": [ctypes.c_uint],
    "cuDriverGetVersion": [ctypes.POINTER(ctypes.c_int)],
    "cuDeviceGetCount": [ctypes.POINTER(ctypes.c_int)],
    "cuDeviceGet": [ctypes.POINTER(ctypes.c_int), ctypes.c_int],
    "cuDeviceGetName": [ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
    "cuDeviceGetAttribute": [ctypes.POINTER(ctypes.c_int), ctypes.c_int, ctypes.c_int],
    "cuDeviceTotalMem_v2": [ctypes.POINTER(ctypes.c_size_t), ctypes.c_int],
    "cuDevicePrimaryCtxRetain": [ctypes.POINTER(_HANDLE), ctypes.c_int],
    "cuDevicePrimaryCtxRelease_v2": [ctypes.c_int],
    "cuCtxSetCurrent": [_HANDLE],
    "cuCtxSynchronize": [],
    "cuMemAlloc_v2": [ctypes.POINTER(_POINTER), ctypes.c_size_t],
    "cuMemFree_v2": [_POINTER],
    "cuMemcpyHtoD_v2": [_POINTER, ctypes.c_void_p, ctypes.c_size_t],
    "cuMemcpyDtoH_v2": [ctypes.c_void_p, _POINTER, ctypes.c_size_t],
    "cuMemcpyDtoDAsync_v2": [_POINTER, _POINTER, ctypes.c_size_t, _HANDLE],
    "cuMemsetD8_v2": [_POINTER, ctypes.c_ubyte, ctypes.c_size_t],
    "cuEventCreate": [ctypes.POINTER(_HANDLE), ctypes.c_uint],
    "cuEventDestroy_v2": [_HANDLE],
    "cuEventRecord": [_HANDLE, _HANDLE],
    "cuEventSynchronize": [_HANDLE],
    "cuEventElapsedTime": [ctypes.POINTER(ctypes.c_float), _HANDLE, _HANDLE],
    "cuModuleLoadData": [ctypes.POINTER(_HANDLE), ctypes.c_char_p],
    "cuModuleGetFunction": [ctypes.POINTER(_HANDLE), _HANDLE, ctypes.c_char_p],
    "cuLaunchKernel": [
        _HANDLE, *[ctypes.c_uint] * 7, _HANDLE, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p)
    ],
    "cuGetErrorName": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
}  # fmt: skip


class NoDevice(Exception):
    """There is no GPU here, or no driver for it; the message says which."""


class DriverError(Exception):
    """The driver refused a call; the context may be lost."""


class DeviceArray:
    """Device memory with the shape of the array it was made for."""

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._device = device
        self.shape, self.dtype = shape, dtype
        self.bytes = int(np.prod(shape)) * dtype.itemsize
        self.pointer = device.allocate(self.bytes)

    def get(self) -> NDArray[Any]:
        """Its values; waits for what runs."""
        host = np.empty(self.shape, self.dtype)
        self._device.call("cuCtxSynchronize")
        if self.bytes:
            self._device.call("cuMemcpyDtoH_v2", host.ctypes.data, self.pointer, self.bytes)
        return host

    def fill(self, byte: int) -> None:
        """Every byte of it."""
        if self.bytes:
            self._device.call("cuMemsetD8_v2", self.pointer, byte, self.bytes)


class Function:
    """A kernel of a cubin. `parameters`: {name: Triton's type}, in order; two null scratch pointers follow them."""

    def __init__(
        self, device: Device, cubin: bytes, entry: str, *, parameters: Mapping[str, str], threads: int, shared: int
    ) -> None:  # fmt: skip
        self._device, self._parameters, self._threads, self._shared = (
            device,
            dict(parameters),
            threads,
            shared,
        )
        module = _HANDLE()
        device.call("cuModuleLoadData", ctypes.byref(module), cubin)
        self._function = _HANDLE()
        device.call("cuModuleGetFunction", ctypes.byref(self._function), module, entry.encode())

    def launch(self, grid: Sequence[int], **arguments: int | DeviceArray) -> None:
        """Enqueue; arguments by name. A programme error, not data, is what a missing or unknown name is: TypeError."""
        if arguments.keys() != self._parameters.keys():
            wrong = sorted(arguments.keys() ^ self._parameters.keys())
            raise TypeError(f"a launch must pass {list(self._parameters)}, got others or not all: {wrong}")
        values: list[Any] = []
        for name, kind in self._parameters.items():
            given = arguments[name]
            value = given.pointer if isinstance(given, DeviceArray) else given
            values.append(_POINTER(value) if kind[0] == "*" else _INTEGERS[kind](value))
        values += [_POINTER(0), _POINTER(0)]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        x, y, z = (*grid, 1, 1)[:3]
        # The driver reads the values before it returns, so they may go then.
        self._device.call(
            "cuLaunchKernel",
            self._function,
            x,
            y,
            z,
            self._threads,
            1,
            1,
            self._shared,
            None,
            addresses,
            None,
        )


class Device:
    """The first GPU. `library`: the driver's file, for tests of what happens without one."""

    def __init__(self, library: str = "libcuda.so.1") -> None:
        try:
            self._driver = ctypes.CDLL(library)
        except OSError as error:
            raise NoDevice(f"the CUDA driver cannot be loaded: {error}") from None
        for name, arguments in _SIGNATURES.items():
            function = getattr(self._driver, name)
            function.argtypes, function.restype = arguments, ctypes.c_int
        status = self._driver.cuInit(0)
        count = ctypes.c_int(0)
        if status == 0:
            status = self._driver.cuDeviceGetCount(ctypes.byref(count))
        if status != 0 or count.value == 0:
            raise NoDevice(
                f"the CUDA driver finds no device: {self._error(status) if status else '0 devices'}"
            )
        self._ordinal = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(self._ordinal), 0)
        context = _HANDLE()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._ordinal)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any) -> None:
        """A driver function; DriverError unless it says that all is well."""
        status = getattr(self._driver, name)(*arguments)
        if status != 0:
            self._fail(name, status)

    def describe(self) -> dict[str, Any]:
        """The card's name, its compute capability, memory and driver."""
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, 256, self._ordinal)
        total, version = ctypes.c_size_t(), ctypes.c_int()
        self.call("cuDeviceTotalMem_v2", ctypes.byref(total), self._ordinal)
        self.call("cuDriverGetVersion", ctypes.byref(version))
        return {
            "name": name.value.decode(),
            "compute_capability": self.capability,
            "memory_bytes": total.value,
            "driver_cuda_version": f"{version.value // 1000}.{version.value % 1000 // 10}",
        }

    @property
    def capability(self) -> int:
        """90 for sm_90."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, self._ordinal)
        self.call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, self._ordinal)
        return 10 * major.value + minor.value

    def allocate(self, size: int) -> int:
        """Device memory, 256-byte aligned; lives as long as the process."""
        pointer = _POINTER()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), max(size, 1))
        return pointer.value

    def free(self, *arrays: DeviceArray) -> None:
        """Give memory back; the arrays are of no use then."""
        self.call("cuCtxSynchronize")
        for array in arrays:
            self.call("cuMemFree_v2", array.pointer)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Memory whose bytes are anything."""
        return DeviceArray(self, shape, np.dtype(dtype))

    def put(self, array: NDArray[Any]) -> DeviceArray:
        """A copy of an array."""
        array = np.ascontiguousarray(array)
        made = DeviceArray(self, array.shape, array.dtype)
        if made.bytes:
            self.call("cuMemcpyHtoD_v2", made.pointer, array.ctypes.data, made.bytes)
        return made

    def copy(self, to: DeviceArray, from_: DeviceArray) -> None:
        """Enqueue a copy of all bytes."""
        self.call("cuMemcpyDtoDAsync_v2", to.pointer, from_.pointer, from_.bytes, None)

    def synchronize(self) -> None:
        """Wait for everything; an error of a kernel shows here."""
        self.call("cuCtxSynchronize")

    def microseconds(self, run: Any, rounds: int) -> list[float]:
        """How long each of `rounds` calls keeps the GPU busy, by its own clock."""
        events = []
        for _ in range(2 * rounds):
            event = _HANDLE()
            self.call("cuEventCreate", ctypes.byref(event), 0)
            events.append(event)
        for begin, end in zip(events[::2], events[1::2], strict=True):
            self.call("cuEventRecord", begin, None)
            run()
            self.call("cuEventRecord", end, None)
        self.synchronize()
        times = []
        for begin, end in zip(events[::2], events[1::2], strict=True):
            milliseconds = ctypes.c_float()
            self.call("cuEventElapsedTime", ctypes.byref(milliseconds), begin, end)
            times.append(1000 * milliseconds.value)
        for event in events:
            self.call("cuEventDestroy_v2", event)
        return times

    def _error(self, status: int) -> str:
        name = ctypes.c_char_p()
        self._driver.cuGetErrorName(status, ctypes.byref(name))
        return (name.value or b"an unknown error").decode()

    def _fail(self, name: str, status: int) -> NoReturn:
        raise DriverError(
            f"`{name}` said {self._error(status)} ({status}); end the process, its context may be lost"
        )
