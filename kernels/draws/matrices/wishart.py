"""Wishart draws by the loops of bartlett.h, with gradients: the autograd node.

It keeps the keys and the parameters, and draws again in backward. What lies beyond first derivatives is put together
from torch operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ...engines.cpu import elementwise as compiled
from ...laws.gamma import GAMMA_LAW
from ...laws.normal import NORMAL_LAW
from ..constants import constant, one_half, zero_and_one
from .bartlett import bartlett, bartlett_backward, reads


class WishartDraw(Function):
    """A draw where nothing but reverse mode sees it: apply(again, shape, key, other_key, df, factor).

    `again(df, factor)` gives the same draw as differentiable operations; `shape` is that of the sample except for the
    matrices. The keys are packed: of the chi-squared and of the normal numbers.
    """

    @staticmethod
    def forward(
        ctx: Any,
        again: Callable[[Tensor, Tensor], Tensor],
        shape: torch.Size,
        key: Tensor,
        other_key: Tensor,
        df: Tensor,
        factor: Tensor,
    ) -> Tensor:
        ctx.again, ctx.shape = again, shape
        ctx.save_for_backward(key, other_key, df, factor)
        squares, normals, _ = _parts(shape, key, other_key, df, factor)
        return bartlett(squares, normals, factor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        key, other_key, df, factor = ctx.saved_tensors
        if not reads(grad, df, factor):
            needs = ctx.needs_input_grad[-2:]
            wanted = [p for p, needed in zip((df, factor), needs, strict=True) if needed]
            create_graph = torch.is_grad_enabled()
            with torch.enable_grad():
                sample = ctx.again(df, factor)
            computed = iter(torch.autograd.grad(sample, wanted, grad, create_graph=create_graph))
            return None, None, None, None, *(next(computed) if needed else None for needed in needs)
        squares, normals, params = _parts(ctx.shape, key, other_key, df, factor)
        of_squares, of_factor = bartlett_backward(grad, squares, normals, factor)
        (of_half_df,) = compiled.backward(GAMMA_LAW, key, (of_squares,), params, (True, False))
        of_df = (0.5 * of_half_df.sum(-1)).sum_to_size(df.shape)
        return None, None, None, None, of_df, of_factor


def half_degrees(df: Tensor, factor: Tensor) -> Tensor:
    """The concentrations of the chi-squared numbers, which are gamma numbers, of shape (..., p)."""
    return 0.5 * (df.unsqueeze(-1) - constant(torch.arange, factor, factor.shape[-1]))


def _parts(
    shape: torch.Size, key: Tensor, other_key: Tensor, df: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """The chi-squared and normal numbers of a draw, and the parameters of the former's gamma law."""
    p, dtype = factor.shape[-1], factor.dtype
    params = half_degrees(df, factor), constant(one_half, factor)
    (squares,) = compiled.forward(GAMMA_LAW, key, params, (*shape, p), dtype)
    (normals,) = compiled.forward(NORMAL_LAW, other_key, constant(zero_and_one, factor), (*shape, p, p), dtype)
    return squares, normals, params
