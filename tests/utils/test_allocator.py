"""`ltmed.utils.allocator`, in processes of their own: what it sets cannot be taken back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.harness import ROOT

_FAULTS = """
import ctypes, resource, sys
from ltmed.utils.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def step(size=2**26):
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 1, size)
    libc.free(block)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def faults(how: str, **environment: str) -> tuple[str, int]:
    """What `keep_freed_memory` returned, and the page faults of four more uses of a block of 64 MiB."""
    known = {name: text for name, text in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, how],
        cwd=ROOT,
        env=known | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, number = done.stdout.split()
    return kept, int(number)


@glibc
def test_a_large_block_is_used_again_without_page_faults() -> None:
    assert faults("leave")[1] > 1000
    kept, number = faults("keep")
    assert kept == "True"
    assert number < 100


@glibc
def test_settings_of_the_user_stay() -> None:
    kept, number = faults("keep", MALLOC_MMAP_THRESHOLD_="1048576")
    assert kept == "False"
    assert number > 1000
