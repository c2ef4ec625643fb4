"""Runs the pytest files named on the command line as one Bazel test."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

# This folder is sys.path[0]: it must not offer its files as top-level modules. A process that a test spawns imports this
# file, too, and has the test's own path by then.
if __name__ == "__main__":
    sys.path.pop(0)


class Shard:
    """Keeps every n-th test when Bazel asks for shards."""

    def __init__(self) -> None:
        self.index = int(os.environ["TEST_SHARD_INDEX"])
        self.total = int(os.environ["TEST_TOTAL_SHARDS"])
        pathlib.Path(os.environ["TEST_SHARD_STATUS_FILE"]).touch()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        keep = items[self.index :: self.total]
        config.hook.pytest_deselected(items=[i for i in items if i not in keep])
        items[:] = keep


class Deselected:
    """Counts what a mark, a filter or a shard left out: a file without any test stays a failure."""

    def __init__(self) -> None:
        self.count = 0

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.count += len(items)


def main(argv: list[str]) -> int:
    args = ["-c", "pyproject.toml", "--rootdir=.", "-p", "no:cacheprovider", "--override-ini=testpaths="]
    if "XML_OUTPUT_FILE" in os.environ:
        args.append(f"--junitxml={os.environ['XML_OUTPUT_FILE']}")
    if os.environ.get("TESTBRIDGE_TEST_ONLY"):  # bazel test --test_filter
        args += ["-k", os.environ["TESTBRIDGE_TEST_ONLY"]]
    if "TEST_TMPDIR" in os.environ:
        args.append(f"--basetemp={os.environ['TEST_TMPDIR']}/pytest")
    deselected = Deselected()
    plugins: list[object] = [deselected]
    if "TEST_TOTAL_SHARDS" in os.environ:
        plugins.append(Shard())
    code = pytest.main(args + argv, plugins=plugins)
    if code == pytest.ExitCode.NO_TESTS_COLLECTED and deselected.count:
        return 0
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
