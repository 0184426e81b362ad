"""Draws that are a matrix product as torch code: noise as a tensor, then BLAS. The specification of the kernels.

Backward makes the noise again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import compiled
from .. import reference as elementwise
from ..maps.normal import NORMAL_MAP
from ..noise import compute_dtype
from .kind import Kind
from .noise import normal_noise


def forward(
    kind: Kind, backend: str, key: Tensor, params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """The draw of `shape` and `dtype` and, where `kind` asks for it, the squared norm of each row's noise.

    Args:
        backend: who makes the noise, "compiled" or "reference".
        key: a packed key, uint64.
        params: as `kind.parameters` names them; their batch dimensions broadcast to those of `shape`.
    """
    compute, shape = compute_dtype(dtype), torch.Size(shape)
    loc, factor, *scale = (p.to(compute) for p in params)
    eps = normal_noise(backend, key, (*shape[:-1], factor.shape[-1]), dtype, loc.device, kind.stream)
    # No sum in place: torch.autograd.gradcheck has batched parameters beside unbatched noise.
    x = loc + times(factor.tril() if kind.triangular else factor, eps)
    if scale:
        own = normal_noise(backend, key, shape, dtype, loc.device, 0)
        x = torch.addcmul(x, scale[0], own)
    sample = x.to(dtype)
    return (sample, eps.square().sum(-1).to(dtype)) if kind.norm else (sample,)


def backward(
    kind: Kind, backend: str, key: Tensor, grad: Tensor, like: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor]:
    """The gradients of the parameters marked in `needs`, each of its parameter's shape and dtype.

    Args:
        grad: of the sample, of its dtype.
        like: give the parameters' shapes and dtypes; the values are not read.
    """
    loc, factor, *scale = like
    grads: list[Tensor] = []
    if needs[0]:
        grads.append(grad.sum_to_size(loc.shape).to(loc.dtype))
    if needs[1]:
        eps = normal_noise(backend, key, (*grad.shape[:-1], factor.shape[-1]), grad.dtype, grad.device, kind.stream)
        product = outer(grad.to(eps.dtype), eps, factor.shape)
        grads.append((product.tril_() if kind.triangular else product).to(factor.dtype))
    if scale and needs[2]:
        module = compiled if backend == "compiled" else elementwise
        grads += module.backward(NORMAL_MAP, key, (grad,), (loc, scale[0]), (False, True))
    return grads


def own_and_shared(factor_batch: Sequence[int], batch: Sequence[int]) -> tuple[list[int], list[int]]:
    """The dimensions of a draw's batch along which rows have factors of their own, and those along which they share."""
    sizes = (*(1,) * (len(batch) - len(factor_batch)), *factor_batch)
    own = [d for d, size in enumerate(sizes) if size != 1]
    return own, [d for d, size in enumerate(sizes) if size == 1]


def times(factor: Tensor, eps: Tensor) -> Tensor:
    """factor @ eps for every row: (..., N, K) and (*batch, K) to a new tensor (*batch, N)."""
    batch, (n, k) = eps.shape[:-1], factor.shape[-2:]
    own, shared = own_and_shared(factor.shape[:-2], batch)
    matrices = factor.reshape(*(batch[d] for d in own), n, k)
    if not own:
        return (eps.reshape(-1, k) @ matrices.mT).reshape(*batch, n)
    order = own + shared
    product = _by_matrix(eps, own, shared) @ matrices.mT
    rows = product.reshape(*(batch[d] for d in order), n)
    return rows.permute(*(order.index(d) for d in range(len(batch))), -1).contiguous()


def outer(grad: Tensor, eps: Tensor, shape: torch.Size) -> Tensor:
    """The sum of grad eps^T over the rows that share a factor, of the factor's shape."""
    own, shared = own_and_shared(shape[:-2], grad.shape[:-1])
    return (_by_matrix(grad, own, shared).mT @ _by_matrix(eps, own, shared)).reshape(shape)


def _by_matrix(x: Tensor, own: Sequence[int], shared: Sequence[int]) -> Tensor:
    """(*batch, K) as (*own, rows, K)."""
    rows = math.prod(x.shape[d] for d in shared)
    return x.permute(*own, *shared, -1).reshape(*(x.shape[d] for d in own), rows, x.shape[-1])
