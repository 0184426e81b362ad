"""The standard normal noise of a draw as a tensor, for the backends that hand the product to a matrix library."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import compiled, cpp
from ..hugepages import empty
from ..maps.standard import STANDARD_MAPS
from ..noise import NORMAL, compute_dtype, elements_per_block
from ..philox import philox_blocks
from ..reference import eager_noise

# Philox blocks made at a time: the words of one are 64-bit integers in some twenty temporaries.
CHUNK = 2**14


def normal_noise(
    backend: str, key: Tensor, shape: Sequence[int], dtype: torch.dtype, device: torch.device, stream: int
) -> Tensor:
    """Standard normal noise of a draw of `shape` and `dtype`, in the compute dtype.

    Args:
        backend: "compiled" or "reference".
        key: a packed key.
        stream: counter word 3; 0 is the stream of the draw's own elements.
    """
    compute = compute_dtype(dtype)
    if stream != 0:
        library = _library() if backend == "compiled" else None
        if library is None:
            return stream_noise(key.to(device), shape, dtype, stream)
        out = empty(shape, compute)
        seed, offset = key.view(torch.int64).tolist()
        fill = library.stream_normal_double if compute == torch.float64 else library.stream_normal_float
        fill(out.data_ptr(), out.numel(), seed, offset, stream)
        return out
    like = torch.zeros((), dtype=compute, device=device)
    if backend == "compiled":
        return compiled.forward(STANDARD_MAPS["normal"], key, (like,), shape, compute)[0]
    return eager_noise(NORMAL, key, shape, compute, like)


def stream_noise(key: Tensor, shape: Sequence[int], dtype: torch.dtype, stream: int) -> Tensor:
    """Standard normal noise from the blocks with counter word 3 = `stream`, as torch code."""
    seed, offset = key.view(torch.int64)
    numel = math.prod(shape)
    out = torch.empty(numel, dtype=compute_dtype(dtype), device=key.device)
    per_block = elements_per_block(dtype)
    for first in range(0, -(-numel // per_block), CHUNK):
        part = out[first * per_block : (first + CHUNK) * per_block]
        block = offset + first + torch.arange(-(-part.numel() // per_block), device=key.device)
        noise = torch.stack(NORMAL.from_words(philox_blocks(seed, block, c3=stream), dtype), -1)
        part.copy_(noise.view(-1)[: part.numel()])
    return out.view(torch.Size(shape))


@functools.cache
def _library() -> Any:
    """What matrices/noise.h builds, or None where it cannot be built, which is tried once."""
    if not cpp.compiler_works():
        return None
    source = "".join(cpp.header(name) for name in ("elementary.h", "noise.h", "matrices/noise.h"))
    library = cpp.build(source, "draws of low-rank normals")
    if library is not None:
        for function in (library.stream_normal_float, library.stream_normal_double):
            function.restype = None
            function.argtypes = (ctypes.c_void_p, ctypes.c_int64, *(ctypes.c_uint64,) * 2, ctypes.c_uint32)
    return library
