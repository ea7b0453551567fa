"""How this process takes memory from the system: decided by the program that is started, before its first thread."""

from __future__ import annotations

import ctypes

HEAPS = 2
"""Reading and segmenting go on side by side. glibc's own choice, eight for each core, left 950 MB after 200 films, this
570 MB, at the same speed (`benchmarks.load`)."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def limit_arenas() -> bool:
    """For a server: what one film's thread has freed serves the next film's.

    False where the C library is not glibc, and nothing is changed then. Source: mallopt(3), M_ARENA_MAX.
    """
    return _set(_M_ARENA_MAX, HEAPS)


def keep_freed_memory() -> bool:
    """For a training: memory once taken stays with the process, and each step finds it there.

    glibc gives tensors of 32 MiB and more back as soon as they are freed, and the system clears every page of them
    anew for the next layer: a third of a step's time on two cores (docs/background/speed.md), for a fifth more memory.
    False where the C library is not glibc. Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    return _set(_M_MMAP_MAX, 0) and _set(_M_TRIM_THRESHOLD, -1)


def _set(parameter: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).mallopt(parameter, value))
    except (AttributeError, OSError, TypeError):  # musl and macOS have none, Windows has no library of no name
        return False
