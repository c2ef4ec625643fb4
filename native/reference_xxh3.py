"""XXH3 of 64 bits with a seed, one string at a time: the definition in Python integers that `src/hash.cc` is tested against.

Source:  "XXH3 Algorithm Description" of xxHash's doc/xxhash_spec.md (Yann Collet), read and written anew. Its own
         implementation is not used; the golden vectors in `tests/hash_vectors.json` were made with it.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["xxh3_64"]

_M64: Final = (1 << 64) - 1
_P32_1, _P32_2, _P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
_P64_1, _P64_2, _P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P64_4, _P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_MX1, _MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
_SECRET: Final = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def xxh3_64(data: bytes, seed: int = 0) -> int:
    """XXH3_64bits_withSeed(data, seed), in 0 .. 2^64 - 1."""
    size = len(data)
    if size == 0:
        return _avalanche_xxh64(seed ^ _u64(_SECRET, 56) ^ _u64(_SECRET, 64))
    if size <= 3:
        combined = data[-1] | size << 8 | data[0] << 16 | data[size >> 1] << 24
        return _avalanche_xxh64((_u32(_SECRET, 0) ^ _u32(_SECRET, 4)) + seed & _M64 ^ combined)
    if size <= 8:
        return _from_4_to_8(data, seed)
    if size <= 16:
        low = (_u64(_SECRET, 24) ^ _u64(_SECRET, 32)) + seed & _M64 ^ _u64(data, 0)
        high = (_u64(_SECRET, 40) ^ _u64(_SECRET, 48)) - seed & _M64 ^ _u64(data, size - 8)
        return _avalanche(size + _swap(low, 8) + high + _fold(low, high) & _M64)
    if size <= 128:
        acc = size * _P64_1
        for i in reversed(range((size - 1 >> 5) + 1)):
            acc += _mix_step(data, 16 * i, 32 * i, seed)
            acc += _mix_step(data, size - 16 * i - 16, 32 * i + 16, seed)
        return _avalanche(acc & _M64)
    if size <= 240:
        acc = size * _P64_1 + sum(_mix_step(data, 16 * i, 16 * i, seed) for i in range(8))
        acc = _avalanche(acc & _M64)
        acc += sum(_mix_step(data, 16 * i, 16 * (i - 8) + 3, seed) for i in range(8, size >> 4))
        return _avalanche(acc + _mix_step(data, size - 16, 119, seed) & _M64)
    return _long(data, seed)


def _from_4_to_8(data: bytes, seed: int) -> int:
    size = len(data)
    seed ^= _swap(seed & 0xFFFFFFFF, 4) << 32
    combined = _u32(data, size - 4) | _u32(data, 0) << 32
    value = (_u64(_SECRET, 8) ^ _u64(_SECRET, 16)) - seed & _M64 ^ combined
    value ^= _rotate(value, 49) ^ _rotate(value, 24)
    value = value * _MX2 & _M64
    value ^= (value >> 35) + size
    value = value * _MX2 & _M64
    return value ^ value >> 28


def _long(data: bytes, seed: int) -> int:
    words = struct.unpack("<24Q", _SECRET)
    secret = struct.pack("<24Q", *((w + (seed if i % 2 == 0 else -seed)) & _M64 for i, w in enumerate(words)))
    acc = [_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1]

    def accumulate(at: int, secret_at: int) -> None:
        for i in range(8):
            word = _u64(data, at + 8 * i)
            value = word ^ _u64(secret, secret_at + 8 * i)
            acc[i ^ 1] = acc[i ^ 1] + word & _M64
            acc[i] = acc[i] + (value & 0xFFFFFFFF) * (value >> 32) & _M64

    blocks = (len(data) - 1) // 1024
    for block in range(blocks):
        for n in range(16):
            accumulate(1024 * block + 64 * n, 8 * n)
        for i in range(8):
            acc[i] = (acc[i] ^ acc[i] >> 47 ^ _u64(secret, 128 + 8 * i)) * _P32_1 & _M64
    for n in range((len(data) - 1024 * blocks - 1) // 64):
        accumulate(1024 * blocks + 64 * n, 8 * n)
    accumulate(len(data) - 64, 121)
    merged = [acc[i] ^ _u64(secret, 11 + 8 * i) for i in range(8)]
    total = len(data) * _P64_1 + sum(_fold(merged[i], merged[i + 1]) for i in range(0, 8, 2))
    return _avalanche(total & _M64)


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _swap(x: int, size: int) -> int:
    return int.from_bytes(x.to_bytes(size, "little"), "big")


def _rotate(x: int, by: int) -> int:
    return (x << by | x >> 64 - by) & _M64


def _fold(a: int, b: int) -> int:
    return a * b & _M64 ^ a * b >> 64


def _mix_step(data: bytes, at: int, secret_at: int, seed: int) -> int:
    return _fold(
        _u64(data, at) ^ _u64(_SECRET, secret_at) + seed & _M64,
        _u64(data, at + 8) ^ _u64(_SECRET, secret_at + 8) - seed & _M64,
    )


def _avalanche(x: int) -> int:
    x ^= x >> 37
    x = x * _MX1 & _M64
    return x ^ x >> 32


def _avalanche_xxh64(x: int) -> int:
    x ^= x >> 33
    x = x * _P64_2 & _M64
    x ^= x >> 29
    x = x * _P64_3 & _M64
    return x ^ x >> 32
