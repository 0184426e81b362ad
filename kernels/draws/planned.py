"""The torch.autograd.Function classes of draws by a plan: those of :mod:`draws.autograd` in fewer steps.

They serve where nothing but reverse mode sees the draw: outside of functorch's transforms and of forward mode.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function

from ..engines.outputs import Outputs
from .autograd import AffineDraw, PathwiseDraw
from .operators import Operators
from .plans import Plan


class PlannedAffineDraw(Function):
    """`AffineDraw`: apply(operators, plan, key, *params)."""

    @staticmethod
    def forward(ctx: Any, operators: Operators, plan: Plan, key: tuple[Tensor, ...], *params: Tensor) -> Outputs:
        ctx.operators, ctx.shape, ctx.dtype, ctx.like, ctx.backend = (
            operators,
            plan.shape,
            plan.dtype,
            plan.like,
            plan.backend,
        )
        ctx.save_for_backward(*key, None)
        return plan.run(key, params)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        gradients: tuple[Any, ...] = AffineDraw.backward(ctx, *grads)
        return gradients[2:]


class PlannedPathwiseDraw(Function):
    """`PathwiseDraw`: apply(operators, plan, key, *params)."""

    @staticmethod
    def forward(ctx: Any, operators: Operators, plan: Plan, key: tuple[Tensor, ...], *params: Tensor) -> Outputs:
        ctx.operators, ctx.shape, ctx.dtype, ctx.backend = operators, plan.shape, plan.dtype, plan.backend
        output = plan.run(key, params)
        PathwiseDraw.keep(ctx, key, None, params, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        gradients: tuple[Any, ...] = PathwiseDraw.backward(ctx, *grads)
        return gradients[2:]


# Of a draw without gradient there is nothing to save.
PLANNED: dict[type[Function], type[Function]] = {AffineDraw: PlannedAffineDraw, PathwiseDraw: PlannedPathwiseDraw}
