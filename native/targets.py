"""Which instruction sets this build and this CPU can run.

A program takes the best one unless its `target` says otherwise, or the environment variable MAINSPRING_FORCE_TARGET
does (read once by the compiled code; for tests and for finding faults). All targets give the same bits.
"""

from __future__ import annotations

from mainspring.native import _native


def available() -> tuple[str, ...]:
    """The targets that run here, slowest first: ("generic", "avx2", "avx512")."""
    return _native.available_targets()


def best() -> str:
    """The fastest target of this CPU, whatever the environment says."""
    return _native.best_target()


def in_force() -> str:
    """The target that a program gets when it names none. NativeError `unknown_target` if the variable is wrong."""
    return _native.choose_target()
