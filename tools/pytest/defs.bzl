"""pytest_test: a py_test that runs its files under pytest."""

load("@rules_python//python:py_test.bzl", "py_test")

# What the [tool.pytest.ini_options] of pyproject.toml need, in every test.
_PYTEST = [
    "@pypi//hypothesis",
    "@pypi//pytest",
    "@pypi//pytest_benchmark",
    "@pypi//pytest_timeout",
]

def pytest_test(name, srcs, deps = [], support = [], data = [], args = [], **kwargs):
    """One Bazel test over some pytest files.

    Args:
      name: ends in _test.
      srcs: the test files.
      deps: py_library targets.
      support: conftest.py and other modules beside the tests.
      data: files that the tests read.
      args: more pytest arguments.
      **kwargs: size, tags, shard_count, ... of py_test.
    """
    py_test(
        name = name,
        srcs = srcs + support + ["//tools/pytest:main.py"],
        args = args + ["$(location %s)" % s for s in srcs],
        data = data + ["//:pyproject.toml"],
        legacy_create_init = 0,
        main = "//tools/pytest:main.py",
        deps = deps + _PYTEST,
        **kwargs
    )
