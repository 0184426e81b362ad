"""Softmax that stays off 0 and keeps nothing but its result for backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..function import LeanFunction


def positive_softmax(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`softmax(x, -1)` of `dtype`, where no coordinate is below the smallest normal number.

    Put together from torch operations, softmax would keep its result and the clamp another tensor of that size.
    """
    # A compiler decides for itself what to keep.
    return _positive_softmax(x, dtype) if torch.compiler.is_compiling() else PositiveSoftmax.apply(x, dtype)


def _positive_softmax(x: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.softmax(x, -1).to(dtype).clamp(min=torch.finfo(dtype).tiny)


class PositiveSoftmax(LeanFunction):
    """apply(x, dtype). A coordinate that was raised does not move."""

    generate_vmap_rule = True
    forward = staticmethod(_positive_softmax)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.dtype = inputs[0].dtype
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _times_jacobian(ctx.saved_tensors[0], grad, ctx.dtype), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (sample,) = ctx.saved_tensors
        return _times_jacobian(sample, tangent, ctx.dtype).to(sample.dtype)


def _times_jacobian(sample: Tensor, v: Tensor, compute: torch.dtype) -> Tensor:
    """The Jacobian of softmax, which is symmetric and a function of the result, times v."""
    y = torch.where(sample > torch.finfo(sample.dtype).tiny, sample, 0.0).to(compute)
    weighted = y * v.to(compute)
    return weighted - y * weighted.sum(-1, keepdim=True)
