"""Wishart matrices by Bartlett's decomposition: L A (L A)^T, A lower triangular.

On A's diagonal are roots of chi-squared numbers, below it standard normal ones (Bartlett, "On the theory of statistical
regression", 1933). A chi-squared number next to which rounding to the dtype could make the matrix singular is raised.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...runtime.hugepages import empty
from ..row_loops import RowLoops

_LOOPS = RowLoops("bartlett.h", ("bartlett", "bartlett_backward"), "Wishart matrices")
# Larger matrices are multiplied faster by a library.
MOST_ROWS = 16
# Over p eps, of the greatest number on the diagonal of A A^T: what rounding leaves positive definite.
_LEAST_SHARE = 256


def has_loops(df: Tensor, factor: Tensor) -> bool:
    """Whether draws of such parameters, and their gradients, are loops."""
    return factor.shape[-1] <= MOST_ROWS and _LOOPS.find_differentiable(df, factor) is not None


def reads(*tensors: Tensor) -> bool:
    """Whether loops read such tensors, of which no derivatives are asked for."""
    return _LOOPS.find(*tensors) is not None


def bartlett(squares: Tensor, normals: Tensor, factor: Tensor) -> Tensor:
    """The matrices, a new tensor (..., p, p).

    Args:
        squares: chi-squared numbers (..., p).
        normals: standard normal numbers (..., p, p), of which those below the diagonal count.
        factor: L, (..., p, p); broadcasts to the shape of `normals`.
    """
    run = _LOOPS.find(squares, normals, factor) if normals.shape[-1] <= MOST_ROWS else None
    if run is None:
        return _by_operations(squares, normals, factor)
    out = empty(normals.shape, normals.dtype)
    numbers, _kept = _operands(squares, normals, factor)
    run("bartlett", *numbers, out.data_ptr())
    return out


def bartlett_backward(grad: Tensor, squares: Tensor, normals: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of `squares` and `factor`, by the loop, from that of the matrices."""
    run = _LOOPS.find(grad, squares, normals, factor)
    assert run is not None
    of_squares, of_factors = empty(squares.shape, grad.dtype), empty(normals.shape, grad.dtype)
    numbers, _kept = _operands(squares, normals, factor)
    grad = grad.contiguous()
    run("bartlett_backward", grad.data_ptr(), *numbers, of_squares.data_ptr(), of_factors.data_ptr())
    return of_squares, of_factors.sum_to_size(factor.shape)


def _operands(squares: Tensor, normals: Tensor, factor: Tensor) -> tuple[Sequence[int], Sequence[Tensor]]:
    """The loops' arguments, and what has to last for a call."""
    p = normals.shape[-1]
    batch = factor.shape[:-2]
    if batch.numel() != 1:  # of the matrices' last dimensions, from the first along which factors change
        dims = next(i for i, size in enumerate(batch) if size != 1) - len(batch)
        factor = factor.expand(normals.shape[:-2][dims:] + factor.shape[-2:])
    kept = squares.contiguous(), normals.contiguous(), factor.contiguous()
    size = max(p * p, 1)
    return (*(t.data_ptr() for t in kept), kept[2].numel() // size, normals.numel() // size, p), kept


def _by_operations(squares: Tensor, normals: Tensor, factor: Tensor) -> Tensor:
    below = normals.tril(-1)
    p = below.shape[-1]
    diagonal = squares.detach() + below.square().sum(-1)
    least = _LEAST_SHARE * p * torch.finfo(squares.dtype).eps * diagonal.amax(-1, keepdim=True)
    # A Cholesky factorisation divides by the roots above: its errors grow by so much.
    growth = 1 + (below.abs() / torch.maximum(squares.detach(), least).sqrt().unsqueeze(-2)).sum(-1)
    roots = torch.maximum(squares, least * growth).sqrt()
    chol = factor @ (below + roots.diag_embed())
    return chol @ chol.transpose(-2, -1)
