"""Keeps freed memory in the process, so that results do not hang on when the C library gives it back.

By default glibc returns large freed blocks to the system whenever some limits, which it moves, are passed; the next
draw then pays a page fault for every 4 KiB. Whether a sweep runs in that state is chance, and it costs both libraries
up to several times the draw itself. Blocks above 32 MiB, glibc's own limit, still come fresh from the system.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> None:
    """Set glibc's limits for this process; elsewhere do nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
