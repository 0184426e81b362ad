"""Large CPU tensors in huge pages.

The first write to fresh memory traps into the kernel once per page. A draw writes its whole result once, so with pages
of 4 KiB the traps of a large one take several times as long as drawing.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from .backend import CPU

# From this size on glibc takes every block fresh from the system and gives it back when freed; smaller blocks are
# mostly reused, and advising those costs more than it saves.
FRESH_BYTES = 32 * 2**20

_HUGE_PAGE = 2 * 2**20
_MADV_HUGEPAGE = 14  # linux/mman.h

# Never what a program has put in its place while it builds a model on the meta device.
torch_empty = torch.empty

_madvise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None


def empty(shape: Sequence[int], dtype: torch.dtype, like: Tensor | None = None) -> Tensor:
    """`torch.empty` on the CPU; from `FRESH_BYTES` on in huge pages, where the system grants them.

    A contiguous tensor of the same shape and dtype makes it faster.
    """
    # torch.empty is 1.5 times slower with a torch.Size.
    tensor = torch_empty(tuple(shape), dtype=dtype, device=CPU) if like is None else torch.empty_like(like)
    if tensor.nbytes >= FRESH_BYTES and _madvise is not None:
        first = -(-tensor.data_ptr() // _HUGE_PAGE) * _HUGE_PAGE
        last = (tensor.data_ptr() + tensor.nbytes) // _HUGE_PAGE * _HUGE_PAGE
        # Advice only: where it is refused, pages stay small.
        _madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_HUGEPAGE)
    return tensor
