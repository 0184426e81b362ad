"""The standard normal noise of a draw as a tensor, for the backends that hand the product to a matrix library."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..runtime.hugepages import empty
from ..stream.noise import NORMAL, compute_dtype, elements_per_block
from ..stream.philox import philox_blocks
from .cpu import product_library as library
from .eager.elementwise import eager_noise

# Philox blocks made at a time: the words of one are 64-bit integers in some twenty temporaries.
CHUNK = 2**14


def normal_noise(
    backend: str, key: Tensor, shape: Sequence[int], dtype: torch.dtype, like: Tensor, stream: int
) -> Tensor:
    """Standard normal noise of a draw of `shape` and `dtype`, in the compute dtype.

    Args:
        backend: "compiled" or "reference".
        key: a packed key.
        like: any tensor on the draw's device.
        stream: counter word 3; 0 is the stream of the draw's own elements.
    """
    compute = compute_dtype(dtype)
    built = library.forward(compute) if backend == "compiled" else None
    if built is not None:
        out = empty(shape, compute)
        seed, offset = key.view(torch.int64).tolist()
        built.stream_normal(out.data_ptr(), out.numel(), seed, offset, stream)
        return out
    if stream != 0:
        return stream_noise(key.to(like.device), shape, dtype, stream)
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
