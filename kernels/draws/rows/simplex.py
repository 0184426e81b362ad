"""A map onto the simplex that keeps nothing but what it maps for backward, and maps it again.

Put together from torch operations they would keep several tensors of that size. Their derivatives are functions of the
result, but that is the caller's to overwrite. Traced by torch.compile they are torch operations: a compiler decides for
itself what to keep. On the CPU the map and its first derivative are loops over rows, of simplex.h.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import StickBreakingTransform
from torch.nn.functional import pad

from ...runtime.hugepages import empty
from ...stream.noise import compute_dtype
from ..keys import watched
from ..lean_function import LeanFunction, wants_derivative
from ..row_loops import RowLoops

_LOOPS = RowLoops("simplex.h", ("stick_breaking", "stick_breaking_backward"), "points of the simplex")


def stick_breaking(x: Tensor) -> Tensor:
    """torch's `StickBreakingTransform`: K numbers in the last dimension to a point of K + 1 coordinates."""
    if torch.compiler.is_compiling():
        return _by_operations(x)
    return StickBreaking.apply(x) if wants_derivative((x,)) or watched() else _stick_breaking(x)


_by_operations = StickBreakingTransform()._call


def _stick_breaking(x: Tensor) -> Tensor:
    run = _LOOPS.find(x)
    if run is None or not x.is_contiguous():
        return _by_operations(x)
    *batch, k = x.shape
    y = empty((*batch, k + 1), x.dtype)
    run("stick_breaking", x.data_ptr(), math.prod(batch), k, y.data_ptr())
    return y


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
        (x,) = ctx.saved_tensors
        run = _LOOPS.find(x, grad)
        if run is not None and x.is_contiguous():
            grad = grad.contiguous()
            of_x = empty(x.shape, x.dtype)
            rows = math.prod(x.shape[:-1])
            run("stick_breaking_backward", x.data_ptr(), grad.data_ptr(), rows, x.shape[-1], of_x.data_ptr())
            return of_x
        y, share, rest = _shares(_by_operations(x))
        weighted = grad.to(y.dtype) * y
        return (weighted[..., :-1] * rest - share * _sum_from(weighted)[..., 1:]).to(grad.dtype)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        y, share, rest = _shares(_by_operations(ctx.saved_tensors[0]))
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
