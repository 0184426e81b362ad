"""Draws that are a matrix product as torch code: noise as a tensor, then BLAS. The specification of the kernels.

Backward makes the noise again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from ...laws.normal import NORMAL_LAW
from ...stream.noise import compute_dtype
from ..matrix_product import MatrixProduct
from ..product_noise import normal_noise
from . import elementwise


def forward(
    kind: MatrixProduct, backend: str, key: Tensor, params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """The draw of `shape` and `dtype` and, where `kind` asks for it, the squared norm of each row's noise.

    Args:
        backend: who makes the noise, "compiled" or "reference".
        key: a packed key, uint64.
        params: as `kind.parameters` names them; their batch dimensions broadcast to those of `shape`.
    """
    compute = compute_dtype(dtype)
    loc, factor, *scale = (p if p.dtype == compute else p.to(compute) for p in params)
    eps = normal_noise(backend, key, (*shape[:-1], factor.shape[-1]), dtype, loc, kind.stream)
    if kind.triangular:
        factor = factor.tril()
    # No sum in place: torch.autograd.gradcheck has batched parameters beside unbatched noise.
    x = linear(eps, factor, loc) if factor.dim() == 2 and loc.dim() == 1 else loc + times(factor, eps)
    if scale:
        own = normal_noise(backend, key, shape, dtype, loc, 0)
        x = torch.addcmul(x, scale[0], own)
    sample = (x if dtype == compute else x.to(dtype)).contiguous()
    return (sample, eps.square().sum(-1).to(dtype)) if kind.norm else (sample,)


def backward(
    kind: MatrixProduct, backend: str, key: Tensor, grad: Tensor, like: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor]:
    """The gradients of the parameters marked in `needs`, each of its parameter's shape and dtype.

    Args:
        grad: of the sample, of its dtype.
        like: give the parameters' shapes and dtypes; the values are not read.
    """
    loc, factor, *scale = like
    grads: list[Tensor] = []
    if needs[0]:
        grads.append(of_loc(grad, loc))
    if needs[1]:
        grads.append(of_factor(kind, backend, key, grad, factor))
    if scale and needs[2]:
        grads += elementwise.backward(NORMAL_LAW, key, (grad,), (loc, scale[0]), (False, True))
    return grads


def of_loc(grad: Tensor, loc: Tensor) -> Tensor:
    """The gradient of loc."""
    total = grad.sum_to_size(loc.shape)
    return total if total.dtype == loc.dtype else total.to(loc.dtype)


def of_factor(kind: MatrixProduct, backend: str, key: Tensor, grad: Tensor, factor: Tensor) -> Tensor:
    """The gradient of the factor; `backend` makes the noise."""
    eps = normal_noise(backend, key, (*grad.shape[:-1], factor.shape[-1]), grad.dtype, grad, kind.stream)
    product = outer(grad if grad.dtype == eps.dtype else grad.to(eps.dtype), eps, factor.shape)
    if kind.triangular:
        product.tril_()
    return product if product.dtype == factor.dtype else product.to(factor.dtype)


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
        return linear(eps, matrices)
    order = own + shared
    product = _by_matrix(eps, own, shared) @ matrices.mT
    rows = product.reshape(*(batch[d] for d in order), n)
    return rows.permute(*(order.index(d) for d in range(len(batch))), -1).contiguous()


def outer(grad: Tensor, eps: Tensor, shape: torch.Size) -> Tensor:
    """The sum of grad eps^T over the rows that share a factor, of the factor's shape."""
    if len(shape) == 2:
        rows = grad.shape[:-1].numel()
        return grad.reshape(rows, shape[0]).mT @ eps.reshape(rows, shape[1])
    own, shared = own_and_shared(shape[:-2], grad.shape[:-1])
    return (_by_matrix(grad, own, shared).mT @ _by_matrix(eps, own, shared)).reshape(shape)


def _by_matrix(x: Tensor, own: Sequence[int], shared: Sequence[int]) -> Tensor:
    """(*batch, K) as (*own, rows, K)."""
    rows = math.prod(x.shape[d] for d in shared)
    return x.permute(*own, *shared, -1).reshape(*(x.shape[d] for d in own), rows, x.shape[-1])
