"""The standard normal noise of a draw as a tensor, for the backends that hand the product to a matrix library."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..runtime.hugepages import empty
from ..stream.noise import NORMAL, compute_dtype
from .cpu import product_library as library
from .eager.elementwise import eager_noise, noise


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
        return noise(NORMAL, key.to(like.device).view(torch.int64), math.prod(shape), dtype, stream).view(*shape)
    return eager_noise(NORMAL, key, shape, compute, like)
