"""Benchmarks of the native kernels: `python -m mainspring.bench.native`, or `pytest bench/native --benchmark-only`."""

__all__: list[str] = []
