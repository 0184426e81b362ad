"""Maps onto the simplex that keep nothing but what they map for backward, and map it again.

Put together from torch operations they would keep several tensors of that size. Their derivatives are functions of the
result, but that is the caller's to overwrite. Traced by torch.compile they are torch operations: a compiler decides for
itself what to keep.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import StickBreakingTransform
from torch.nn.functional import pad

from ..function import LeanFunction
from ..noise import compute_dtype


def positive_softmax(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`softmax(x, -1)` of `dtype`, where no coordinate is below the smallest normal number."""
    return _positive_softmax(x, dtype) if torch.compiler.is_compiling() else PositiveSoftmax.apply(x, dtype)


def stick_breaking(x: Tensor) -> Tensor:
    """torch's `StickBreakingTransform`: K numbers in the last dimension to a point of K + 1 coordinates."""
    return _stick_breaking(x) if torch.compiler.is_compiling() else StickBreaking.apply(x)


_stick_breaking = StickBreakingTransform()._call


def _positive_softmax(x: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.softmax(x, -1).to(dtype).clamp(min=torch.finfo(dtype).tiny)


class PositiveSoftmax(LeanFunction):
    """apply(x, dtype). A coordinate that was raised does not move."""

    generate_vmap_rule = True
    forward = staticmethod(_positive_softmax)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.dtype = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _times_jacobian(_positive_softmax(x, ctx.dtype), grad, x.dtype), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (x,) = ctx.saved_tensors
        return _times_jacobian(_positive_softmax(x, ctx.dtype), tangent, x.dtype).to(ctx.dtype)


def _times_jacobian(sample: Tensor, v: Tensor, compute: torch.dtype) -> Tensor:
    """The Jacobian of softmax, which is symmetric and a function of the result, times v."""
    y = torch.where(sample > torch.finfo(sample.dtype).tiny, sample, 0.0).to(compute)
    weighted = y * v.to(compute)
    return weighted - y * weighted.sum(-1, keepdim=True)


class StickBreaking(LeanFunction):
    """apply(x). Coordinate k is a share z_k of what is left of the stick, the sum of the coordinates from k on.

    z_k is the sigmoid of x_k and a constant, so that log y_k moves by 1 - z_k with x_k, and by -z_j with x_j before it.
    """

    generate_vmap_rule = True
    forward = staticmethod(_stick_breaking)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, share, rest = _shares(_stick_breaking(ctx.saved_tensors[0]))
        weighted = grad.to(y.dtype) * y
        return (weighted[..., :-1] * rest - share * _sum_from(weighted)[..., 1:]).to(grad.dtype)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        y, share, rest = _shares(_stick_breaking(ctx.saved_tensors[0]))
        t = tangent.to(y.dtype)
        of_log = pad(rest * t, (0, 1)) - pad((share * t).cumsum(-1), (1, 0))
        return (y * of_log).to(tangent.dtype)


def _shares(sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sample in the dtype to compute in; what each coordinate but the last takes of what is left, and leaves."""
    y = sample.to(compute_dtype(sample.dtype))
    left = _sum_from(y)
    # Where y has underflowed to 0 nothing is left.
    whole = torch.where(left > 0, left, 1.0)[..., :-1]
    return y, y[..., :-1] / whole, left[..., 1:] / whole


def _sum_from(y: Tensor) -> Tensor:
    """The sum of each coordinate and those after it."""
    return y.flip(-1).cumsum(-1).flip(-1)
