"""Settings of glibc's malloc, made by the program that is started, before its first thread. Source: mallopt(3)."""

from __future__ import annotations

import ctypes

ARENAS = 2
"""Reading and segmenting go on side by side. glibc's default, eight for each core, left 950 MB after 200 films, this
570 MB, at the same speed (`benchmarks.load`)."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def limit_arenas() -> bool:
    """For a server: few malloc arenas, so that memory freed by one film's thread serves the next film's.

    False, and nothing is changed, where the C library is not glibc.
    """
    return _set(_M_ARENA_MAX, ARENAS)


def disable_mmap_and_trim() -> bool:
    """For a training: malloc neither maps large blocks nor trims the heap, so freed memory stays with the process.

    By default glibc returns tensors of 32 MiB and more as soon as they are freed, and the system clears every page
    again for the next layer. That is a third of a step's time on two cores (docs/background/speed.md);
    this takes a fifth more memory. False where the C library is not glibc.
    """
    return _set(_M_MMAP_MAX, 0) and _set(_M_TRIM_THRESHOLD, -1)


def _set(parameter: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).mallopt(parameter, value))
    except (AttributeError, OSError, TypeError):  # musl and macOS have none, Windows has no library of no name
        return False
