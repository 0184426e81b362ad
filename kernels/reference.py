"""Draws as plain torch code: the specification of every other backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .maps.map import Map
from .noise import Noise, compute_dtype, elements_per_block
from .philox import philox_blocks


def noise(kind: Noise, key: Tensor, numel: int, dtype: torch.dtype) -> Tensor:
    """Noise of elements 0..numel of a draw of `dtype` from one key, 1-D, in the compute dtype.

    Args:
        key: (2,) int64 tensor, the bits of (seed, offset in blocks).
    """
    per_block = elements_per_block(dtype)
    block = key[1] + torch.arange((numel + per_block - 1) // per_block, device=key.device)
    return torch.stack(kind.from_words(philox_blocks(key[0], block), dtype), -1).reshape(-1)[:numel]


def forward(map: Map, key: Tensor, params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The sample of `shape` and `dtype`; `params` broadcast to `shape`."""
    compute = compute_dtype(dtype)
    numel = torch.Size(shape).numel()
    eps = noise(map.noise, key, numel, dtype).reshape(shape)
    return map.reference(eps, *(p.to(compute) for p in params)).to(dtype)


def backward(map: Map, key: Tensor, grad: Tensor, params: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of every parameter, each of its parameter's shape and dtype, for a gradient of the sample's shape."""
    assert map.reference_grad is not None
    compute = compute_dtype(grad.dtype)
    eps = noise(map.noise, key, grad.numel(), grad.dtype).reshape(grad.shape)
    grads = map.reference_grad(eps, grad.to(compute), *(p.to(compute) for p in params))
    return [g.sum_to_size(p.shape).to(p.dtype) for g, p in zip(grads, params, strict=True)]
