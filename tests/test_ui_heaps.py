"""Heaps: many threads share the few that there may be."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from spineseg.ui.heaps import HEAPS

COUNT = """
import ctypes, os, threading
from spineseg.ui.heaps import few_heaps
if {few}:
    assert few_heaps()
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own")
def test_threads_share_few_heaps():
    few, usual = (
        int(subprocess.run([sys.executable, "-c", COUNT.format(few=few)], check=True, capture_output=True).stdout)
        for few in (True, False)
    )
    assert few <= HEAPS < usual
