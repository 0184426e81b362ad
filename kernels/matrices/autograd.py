"""Gradients, forward-mode derivatives and vmap of draws that are a matrix product.

With the noise fixed a draw is a linear map F of its parameters. Its transpose is `MatrixDrawBackward`, the transpose of
that is F again, and the tangent of each is itself; so every order of derivative is one of two kernels, and only the key
is kept for them. The squared norm of the noise, where a draw returns it, does not depend on the parameters.

vmap is as in :mod:`rsample.kernels.autograd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..function import LeanFunction, or_zeros, stand_ins, wants_derivative
from ..vmapping import vmapped_backward, vmapped_draw
from . import ops
from .kind import KINDS, Kind


class MatrixDraw(LeanFunction):
    """A draw: apply(kind, key, marker, shape, dtype, *params), a tuple."""

    @staticmethod
    def forward(
        kind: Kind,
        key: tuple[Tensor, ...],
        marker: Tensor | None,
        shape: Sequence[int],
        dtype: torch.dtype,
        *params: Tensor,
    ) -> tuple[Tensor, ...]:
        return ops.forward(kind, key, params, shape, dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.kind, key, marker, ctx.shape, ctx.dtype, *params = inputs
        ctx.like = [(p.shape, p.dtype, p.device) for p in params]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*key, marker)
        ctx.save_for_forward(*key, marker)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        *key, marker = ctx.saved_tensors
        needs = tuple(ctx.needs_input_grad[-len(ctx.like) :])
        grad = grads[0]
        if grad is None:
            return None, None, None, None, None, *or_zeros([None] * len(ctx.like), ctx.like)
        like = stand_ins(ctx.like, grad)
        if torch._C._are_functorch_transforms_active() or wants_derivative((grad,)):
            computed = MatrixDrawBackward.apply(ctx.kind, tuple(key), marker, needs, grad, *like)
        else:
            computed = ops.backward(ctx.kind, key, grad, like, needs)
        ordered = iter(computed)
        return None, None, None, None, None, *(next(ordered) if needed else None for needed in needs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        *key, marker = ctx.saved_tensors
        given = or_zeros(tangents[-len(ctx.like) :], ctx.like)
        sample, *norm = MatrixDraw.apply(ctx.kind, tuple(key), marker, ctx.shape, ctx.dtype, *given)
        return (sample, *(torch.zeros_like(x) for x in norm))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
        kind = args[0]
        return vmapped_draw(MatrixDraw, info, in_dims, args, kind.events, (0,) * (1 + kind.norm))


class MatrixDrawBackward(LeanFunction):
    """The transpose of MatrixDraw: apply(kind, key, marker, needs, grad, *like), gradients of what `needs` marks.

    `like` gives the shape, dtype and device of each parameter; the values are not read.
    """

    @staticmethod
    def forward(
        kind: Kind, key: tuple[Tensor, ...], marker: Tensor | None, needs: Sequence[bool], grad: Tensor, *like: Tensor
    ) -> tuple[Tensor, ...]:
        return tuple(ops.backward(kind, key, grad, like, needs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.kind, key, marker, ctx.needs, grad, *like = inputs
        ctx.shape, ctx.dtype = tuple(grad.shape), grad.dtype
        ctx.like = [(p.shape, p.dtype, p.device) for p in like]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*key, marker)
        ctx.save_for_forward(*key, marker)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        *key, marker = ctx.saved_tensors
        given = iter(cotangents)
        params = or_zeros([next(given) if needed else None for needed in ctx.needs], ctx.like)
        sample = MatrixDraw.apply(ctx.kind, tuple(key), marker, ctx.shape, ctx.dtype, *params)[0]
        return None, None, None, None, sample, *(None for _ in ctx.like)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        *key, marker = ctx.saved_tensors
        result: tuple[Tensor, ...] = MatrixDrawBackward.apply(
            ctx.kind, tuple(key), marker, ctx.needs, tangents[4], *stand_ins(ctx.like, tangents[4])
        )
        return result

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
        return vmapped_backward(MatrixDrawBackward, info, in_dims, args, args[0].events, 1)


def _register(kind: Kind) -> None:
    def kernel(key: list[Tensor], *args: Any) -> Any:
        *params, shape, dtype = args
        if wants_derivative(params):
            outputs = MatrixDraw.apply(kind, tuple(key), None, tuple(shape), dtype, *params)
        else:
            outputs = ops.forward(kind, key, params, shape, dtype)
        return outputs if kind.norm else outputs[0]

    ops.register_autograd(kind, kernel)


for _kind in KINDS:
    _register(_kind)
