"""torch's stateless draws: of torch itself where it fills CPU tensors from a key (2.14 does), else of the oracle."""

from __future__ import annotations

import oracle
import torch
from torch import Tensor

from rsample.kernels.stream.compatibility import FILLS_ON_CPU

if FILLS_ON_CPU:
    from torch.func import _random

# Of the grid that a uniform number lies on.
_BITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


def uniform(key: Tensor, *shape, dtype: torch.dtype = torch.float32) -> Tensor:
    """`torch.func._random.uniform`, bit for bit."""
    if FILLS_ON_CPU:
        return _random.uniform(key, *shape, dtype=dtype)
    return _of_oracle(lambda words: oracle.uniform(words, _BITS[dtype]), key, shape, dtype)


def normal(key: Tensor, *shape, dtype: torch.dtype = torch.float32) -> Tensor:
    """`torch.func._random.normal`, to a few units in the last place of the dtype that it computes in."""
    if FILLS_ON_CPU:
        return _random.normal(key, *shape, dtype=dtype)
    return _of_oracle(oracle.normal64 if dtype == torch.float64 else oracle.normal32, key, shape, dtype)


def _of_oracle(law, key: Tensor, shape, dtype: torch.dtype) -> Tensor:
    size = torch.Size(shape if not shape or isinstance(shape[0], int) else shape[0])
    numel, per_block = size.numel(), 2 if dtype == torch.float64 else 4
    numbers = law(oracle.words(*key.tolist(), -(-numel // per_block)))
    # A number of 16 bits comes from one of 32.
    wide = torch.from_numpy(numbers.reshape(-1)[:numel].copy()).to(torch.promote_types(dtype, torch.float32))
    return wide.to(dtype).reshape(size)
