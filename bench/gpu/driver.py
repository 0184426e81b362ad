"""What the CUDA driver says about a device and a loaded kernel, and torch does not: asked of libcuda itself."""

from __future__ import annotations

import ctypes
from typing import Any

_CLOCK_RATE = 13  # CU_DEVICE_ATTRIBUTE_CLOCK_RATE: the highest clock of the multiprocessors, in kHz


def clock_hz(device: int = 0) -> float:
    """The highest clock of a device's multiprocessors; what it runs at under load may be lower."""
    kilohertz = ctypes.c_int()
    _call("cuDeviceGetAttribute", ctypes.byref(kilohertz), ctypes.c_int(_CLOCK_RATE), ctypes.c_int(device))
    return 1e3 * kilohertz.value


def blocks_per_multiprocessor(function: int, threads: int, shared_bytes: int) -> int:
    """How many blocks of a kernel one multiprocessor holds at a time.

    Args:
        function: a CUfunction, the handle of a loaded kernel.
        threads: of a block.
        shared_bytes: of a block's dynamic shared memory.
    """
    blocks = ctypes.c_int()
    _call(
        "cuOccupancyMaxActiveBlocksPerMultiprocessor",
        ctypes.byref(blocks),
        ctypes.c_void_p(function),
        ctypes.c_int(threads),
        ctypes.c_size_t(shared_bytes),
    )
    return blocks.value


def _call(name: str, *arguments: Any) -> None:
    library = ctypes.CDLL("libcuda.so.1")
    for function, given in (("cuInit", (ctypes.c_uint(0),)), (name, arguments)):
        status = getattr(library, function)(*given)
        if status:
            raise RuntimeError(f"{function} failed with status {status}")
