"""How many threads torch uses for a call: of the thread that calls, and so of one model and not of the process.

torch's OpenMP build keeps the number by calling thread; a thread that has none yet takes the last one that anybody set.
"""

from __future__ import annotations

import torch

_settled = 1


def settle(threads: int) -> None:
    """What the settings say, for whatever torch does beside running a model: see :func:`use`."""
    global _settled
    _settled = threads
    torch.set_num_threads(threads)


def use(threads: int | None = None) -> None:
    """For this thread's calls from now on; None: as settled.

    Asking for the number first (0.03 us) makes a new thread take the last one that was set, which would otherwise
    overwrite what is set here at the first call that looks.
    """
    wanted = _settled if threads is None else threads
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
