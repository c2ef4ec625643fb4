"""One namespace over six folders in every build, and the standard library's `platform` untouched."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import platform
import runpy
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).absolute().parents[2]
ROOMS = runpy.run_path(str(ROOT / "tools" / "shipped.bzl"))["ROOMS"]


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_a_package_without_a_file(room: str) -> None:
    spec = importlib.util.find_spec(f"mainspring.{room}")
    assert spec is not None
    assert spec.origin is None, f"remove {room}/__init__.py: no room has one, platform/ above all"


def test_namespace_itself_has_no_file() -> None:
    spec = importlib.util.find_spec("mainspring")
    assert spec is not None
    assert spec.origin is None


def test_standard_library_platform_is_not_shadowed() -> None:
    assert (
        pathlib.Path(str(platform.__file__)) == pathlib.Path(sysconfig.get_paths()["stdlib"]) / "platform.py"
    )


@pytest.mark.skipif("TEST_SRCDIR" not in os.environ, reason="only a Bazel test has a runfiles folder")
def test_bazel_sees_no_installed_copy() -> None:
    runfiles = os.environ["TEST_SRCDIR"]
    for room in ROOMS:
        spec = importlib.util.find_spec(f"mainspring.{room}")
        assert spec is not None
        places = list(spec.submodule_search_locations or [])
        assert places
        assert all(place.startswith(runfiles) for place in places), f"mainspring.{room} comes from {places}"
