"""What a GPU kernel may use: registers, shared memory, and nothing of local memory, compared with a committed budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["Usage", "check"]

#: {"registers": a thread's, "shared_bytes": a block's, "stack_bytes": a thread's, "spill_bytes": a thread's}
Usage = Mapping[str, int]

#: A tenth more is a decision, not an accident: registers decide how many warps there are to wait with.
_GROWTH: Final = 1.1


def check(
    measured: Mapping[str, Mapping[str, Usage]], budget: Mapping[str, Mapping[str, Usage]], *, renew: str
) -> list[str]:
    """What is wrong, a line each; both are {kernel: {architecture: usage}}. `renew`: the command that writes the budget."""
    wrong = []
    for kernel in sorted(measured.keys() | budget.keys()):
        if (kernel in measured) != (kernel in budget):
            lacking = "the budget" if kernel in measured else "what was compiled"
            wrong.append(f"kernel `{kernel}` is not in {lacking}; renew it with `{renew}`")
            continue
        for arch in sorted(measured[kernel].keys() | budget[kernel].keys()):
            if arch not in measured[kernel] or arch not in budget[kernel]:
                wrong.append(f"kernel `{kernel}` lacks {arch}; renew the budget with `{renew}`")
                continue
            used, allowed = measured[kernel][arch], budget[kernel][arch]
            for what in ("stack_bytes", "spill_bytes"):
                if used[what] > 0:
                    wrong.append(
                        f"kernel `{kernel}` for {arch} has {used[what]} {what}, expected 0; keep its values in registers"
                    )
            for what in ("registers", "shared_bytes"):
                if used[what] > _GROWTH * allowed[what]:
                    wrong.append(
                        f"kernel `{kernel}` for {arch} has {used[what]} {what}, expected at most a tenth more than "
                        f"{allowed[what]}; make it smaller, or say in the commit why not and renew the budget with `{renew}`"
                    )
    return wrong
