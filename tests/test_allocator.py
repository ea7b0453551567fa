"""Heaps: many threads share the few that there may be, and what was freed is there for the next step."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from spineseg.allocator import HEAPS

COUNT = """
import ctypes, os, threading
from spineseg.allocator import limit_arenas
if {few}:
    assert limit_arenas()
together = threading.Barrier(12)
def hold():
    kept = [bytearray(5000) for _ in range(20)]
    together.wait()
threads = [threading.Thread(target=hold) for _ in range(12)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
libc, (out, said) = ctypes.CDLL(None), os.pipe()
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(stream := libc.fdopen(said, b"w")))
libc.fflush(ctypes.c_void_p(stream))
print(os.read(out, 1 << 16).decode().count("<heap nr="))
"""


FAULTS = """
import resource
from spineseg.allocator import keep_freed_memory
if {kept}:
    assert keep_freed_memory()
for _ in range(9):
    tensor = bytearray(b"1") * (64 << 20)
    del tensor
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize() >> 20)
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own")


@needs_glibc
def test_threads_share_limit_arenas():
    few, usual = (
        int(subprocess.run([sys.executable, "-c", COUNT.format(few=few)], check=True, capture_output=True).stdout)
        for few in (True, False)
    )
    assert few <= HEAPS < usual


@needs_glibc
def test_what_was_freed_is_not_taken_from_the_system_again():
    kept, usual = (
        int(subprocess.run([sys.executable, "-c", FAULTS.format(kept=kept)], check=True, capture_output=True).stdout)
        for kept in (True, False)
    )
    assert usual >= 9 * 64  # MB of pages that the system cleared
    assert kept < 3 * 64
