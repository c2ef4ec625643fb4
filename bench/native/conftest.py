"""Benchmarks live in bench_*.py and are collected only when they are asked for: --benchmark-only."""

from __future__ import annotations

import pathlib

import pytest


def pytest_collect_file(file_path: pathlib.Path, parent: pytest.Collector) -> pytest.Collector | None:
    """bench_*.py as test modules, unless the configuration already takes them."""
    configured = parent.config.getini("python_files")
    wanted = file_path.match("bench_*.py") and parent.config.getoption("benchmark_only", default=False)
    if not wanted or any(file_path.match(pattern) for pattern in configured):
        return None
    return Benchmarks.from_parent(parent, path=file_path)


class Benchmarks(pytest.Module):
    """A module whose functions are called bench_*."""

    def funcnamefilter(self, name: str) -> bool:
        return name.startswith("bench_")
