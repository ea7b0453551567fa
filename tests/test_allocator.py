"""Allocator: many threads share few arenas, and what was freed stays for the next step."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from spineseg.allocator import ARENAS

COUNT_ARENAS = """
import ctypes, os, sys, threading
from spineseg.allocator import limit_arenas
if sys.argv[1:]:
    assert limit_arenas()
together = threading.Barrier(12)
def hold():
    kept = [bytearray(5000) for _ in range(20)]
    together.wait()
threads = [threading.Thread(target=hold) for _ in range(12)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
libc, (out, written) = ctypes.CDLL(None), os.pipe()
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(stream := libc.fdopen(written, b"w")))
libc.fflush(ctypes.c_void_p(stream))
print(os.read(out, 1 << 16).decode().count("<heap nr="))
"""
MEGABYTES_CLEARED = """
import resource, sys
from spineseg.allocator import disable_mmap_and_trim
if sys.argv[1:]:
    assert disable_mmap_and_trim()
for _ in range(9):
    tensor = bytearray(b"1") * (64 << 20)
    del tensor
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize() >> 20)
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own")


def number(code: str, *changed: str) -> int:
    return int(subprocess.run([sys.executable, "-c", code, *changed], check=True, capture_output=True).stdout)


def test_threads_share_few_arenas():
    assert number(COUNT_ARENAS, "changed") <= ARENAS < number(COUNT_ARENAS)


def test_what_was_freed_is_not_taken_from_the_system_again():
    assert number(MEGABYTES_CLEARED, "changed") < 3 * 64 < 9 * 64 <= number(MEGABYTES_CLEARED)
