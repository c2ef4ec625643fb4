"""The one place of the version: Bazel loads it, setup.py runs it (Starlark's literals are Python's)."""

VERSION = "0.1.0"
