"""Point-in-time joins: for each question the newest row of its key that was there at its time.

    >>> import numpy as np
    >>> from mainspring.native import asof
    >>> times, starts = np.array([10, 20, 20, 5]), np.array([0, 3, 4])  # two runs, each ascending
    >>> asof.search(times, starts, np.array([0, 1, 0, -1]), np.array([25, 4, 10, 99]))
    array([ 2, -1,  0, -1])
    >>> rows = np.array([1, 0, 0]), np.array([5, 20, 10]), np.array([5, 21, 11]), np.array([0, 1, 2])
    >>> asof.newest(*rows, np.array([0, 0, 1]), np.array([15, 25, 5]), n_keys=2)
    array([2, 1, 0])

Arrays are int64; times are of any one unit. What each does is written in `mainspring.native.reference_asof`.
"""

from __future__ import annotations

from mainspring.native._native import asof_newest as newest
from mainspring.native._native import asof_search as search

__all__ = ["newest", "search"]
