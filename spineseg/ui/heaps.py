"""The server's memory: few heaps, so that what one film's thread has freed serves the next film's."""

from __future__ import annotations

import ctypes

HEAPS = 2
"""Reading and segmenting go on side by side. glibc's own choice, eight for each core, left 950 MB after 200 films, this
570 MB, at the same speed (`benchmarks.load`)."""

_M_ARENA_MAX = -8


def few_heaps() -> bool:
    """Before any thread is started; False where the C library is not glibc, and nothing is changed then.

    Source: mallopt(3), M_ARENA_MAX.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, HEAPS))
    except (AttributeError, OSError, TypeError):  # musl and macOS have none, Windows has no library of no name
        return False
