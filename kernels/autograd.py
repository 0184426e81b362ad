"""Gradients, forward-mode derivatives and vmap of draws: the torch.autograd.Function classes.

`Draw` has no gradient. `AffineDraw` is for maps that are affine in their parameters, jointly (location-scale families,
Uniform): with the noise fixed the draw is a linear map F of the parameters. Its transpose is `AffineDrawBackward`, the
transpose of that is F again, and the tangent of each is itself; so every order of derivative is one of two kernels,
and only the key is kept for them.

Under vmap a draw is one draw. randomness="different" makes the mapped dimension the leading dimension of the logical
shape; "same" gives every example the same noise; a mapped key draws per key. The `marker`, an empty tensor, tells
the rules that examples differ even where no parameter is mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from .ops import Operators


class _LeanFunction(Function):
    """A Function that costs 3 us to apply in eager mode, and not 17.

    functorch's transforms need `setup_context`, and for a Function that has one torch binds the arguments to the
    signature on every call. So each class has a twin whose forward takes the context itself, for use outside of them.
    """

    _eager: type[Function]

    def __init_subclass__(cls) -> None:
        def forward(ctx: Any, *args: Any) -> Any:
            output = cls.forward(*args)
            cls.setup_context(ctx, args, output)
            return output

        methods = {
            name: staticmethod(f) for name, f in (("forward", forward), ("backward", cls.backward), ("jvp", cls.jvp))
        }
        cls._eager = type(f"{cls.__name__}Eager", (Function,), methods)

    @classmethod
    def apply(cls, *args: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            return super().apply(*args)
        return cls._eager.apply(*args)


class Draw(_LeanFunction):
    """A draw without gradient: apply(operators, key, marker, shape, dtype, *params)."""

    @staticmethod
    def forward(
        operators: Operators,
        key: tuple[Tensor, ...],
        marker: Tensor | None,
        shape: Sequence[int],
        dtype: torch.dtype,
        *params: Tensor,
    ) -> Tensor:
        return operators.forward(key, params, shape, dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:
        raise AssertionError("a draw without gradient has no backward")

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        return None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        return _vmapped_draw(Draw, info, in_dims, *args)


class AffineDraw(_LeanFunction):
    """A draw that is affine in its parameters: apply(operators, key, marker, shape, dtype, *params)."""

    forward = Draw.forward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.operators, key, marker, ctx.shape, ctx.dtype, *params = inputs
        ctx.like = [(p.shape, p.dtype, p.device) for p in params]
        ctx.save_for_backward(*key, marker)
        ctx.save_for_forward(*key, marker)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        *key, marker = ctx.saved_tensors
        map = ctx.operators.map
        needs = list(ctx.needs_input_grad[-len(ctx.like) :])
        grads: list[Tensor | None] = [None] * len(needs)
        if map.location is not None:
            i = map.parameters.index(map.location)
            shape, dtype, _ = ctx.like[i]
            if needs[i] and shape == grad.shape and dtype == grad.dtype:
                grads[i], needs[i] = grad, False
        if any(needs):
            like = _stand_ins(ctx.like, grad)
            if torch._C._are_functorch_transforms_active() or wants_derivative((grad,)):
                computed = AffineDrawBackward.apply(ctx.operators, tuple(key), marker, tuple(needs), grad, *like)
            else:
                computed = ctx.operators.backward(key, grad, like, needs)
            given = iter(computed)
            grads = [next(given) if needed else g for g, needed in zip(grads, needs, strict=True)]
        return None, None, None, None, None, *grads

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        *key, marker = ctx.saved_tensors
        like = ctx.like
        return AffineDraw.apply(
            ctx.operators, tuple(key), marker, ctx.shape, ctx.dtype, *_or_zeros(tangents[-len(like) :], like)
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        return _vmapped_draw(AffineDraw, info, in_dims, *args)


class AffineDrawBackward(_LeanFunction):
    """The transpose of AffineDraw: apply(operators, key, marker, needs, grad, *like), gradients of what `needs` marks.

    `like` gives the shape, dtype and device of each parameter; the values are not read.
    """

    @staticmethod
    def forward(
        operators: Operators,
        key: tuple[Tensor, ...],
        marker: Tensor | None,
        needs: Sequence[bool],
        grad: Tensor,
        *like: Tensor,
    ) -> tuple[Tensor, ...]:
        return tuple(operators.backward(key, grad, like, needs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.operators, key, marker, ctx.needs, grad, *like = inputs
        ctx.shape, ctx.dtype = tuple(grad.shape), grad.dtype
        ctx.like = [(p.shape, p.dtype, p.device) for p in like]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*key, marker)
        ctx.save_for_forward(*key, marker)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        *key, marker = ctx.saved_tensors
        given = iter(cotangents)
        params = [next(given) if needed else None for needed in ctx.needs]
        grad = AffineDraw.apply(ctx.operators, tuple(key), marker, ctx.shape, ctx.dtype, *_or_zeros(params, ctx.like))
        return None, None, None, None, grad, *(None for _ in ctx.like)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        *key, marker = ctx.saved_tensors
        tangent = tangents[4]
        like = _stand_ins(ctx.like, tangent)
        return AffineDrawBackward.apply(ctx.operators, tuple(key), marker, ctx.needs, tangent, *like)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
        operators, key, marker, needs, grad, *like = args
        _, key_dims, marker_dim, _, grad_dim, *like_dims = in_dims
        out_dims = (0,) * sum(needs)
        if _is_a_draw_an_example(key_dims, marker_dim):
            examples = _each_example(AffineDrawBackward, info, in_dims, args)
            return tuple(torch.stack(grads) for grads in zip(*examples, strict=True)), out_dims
        grad = _batch_first(grad, grad_dim, info.batch_size)
        marker = _batch_first(marker, marker_dim, info.batch_size)
        like = [_aligned(_batch_first(p, d, info.batch_size), grad.dim()) for p, d in zip(like, like_dims, strict=True)]
        grads = AffineDrawBackward.apply(operators, key, marker, needs, grad, *like)
        dims = [p.dim() - (0 if d is None else 1) for p, d, n in zip(args[5:], like_dims, needs, strict=True) if n]
        return tuple(
            g.reshape(info.batch_size, *g.shape[g.dim() - dim :]) for g, dim in zip(grads, dims, strict=True)
        ), out_dims


def _vmapped_draw(function: type[Function], info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
    operators, key, marker, shape, dtype, *params = args
    _, key_dims, marker_dim, _, _, *param_dims = in_dims
    if _is_a_draw_an_example(key_dims, marker_dim):
        return torch.stack(_each_example(function, info, in_dims, args)), 0
    params = [
        p if d is None else _aligned(p.movedim(d, 0), len(shape) + 1) for p, d in zip(params, param_dims, strict=True)
    ]
    marker = _batch_first(marker, marker_dim, info.batch_size)
    return function.apply(operators, key, marker, (info.batch_size, *shape), dtype, *params), 0


def _is_a_draw_an_example(key_dims: Sequence[int | None], marker_dim: int | None) -> bool:
    """Whether each example starts the stream of its key anew: it has its own key, or the same noise as the others."""
    return marker_dim is None or any(dim is not None for dim in key_dims)


def _each_example(function: type[Function], info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]) -> list[Any]:
    operators, *rest = args
    return [
        function.apply(operators, *(_example(x, d, i) for x, d in zip(rest, in_dims[1:], strict=True)))
        for i in range(info.batch_size)
    ]


def _example(value: Any, dim: Any, index: int) -> Any:
    """One example's value of an argument of a vmapped function."""
    if isinstance(dim, tuple):
        return tuple(_example(v, d, index) for v, d in zip(value, dim, strict=True))
    return value if dim is None else value.select(dim, index)


def _batch_first(value: Tensor, dim: int | None, batch_size: int) -> Tensor:
    return value.expand(batch_size, *value.shape) if dim is None else value.movedim(dim, 0)


def _aligned(batched: Tensor, dim: int) -> Tensor:
    """`batched` (B, *shape) as (B, 1, ..., 1, *shape) of `dim` dimensions: it broadcasts with a batched sample."""
    return batched.reshape(batched.shape[0], *(1,) * (dim - batched.dim()), *batched.shape[1:])


def wants_derivative(tensors: Sequence[Tensor]) -> bool:
    """Whether reverse or forward mode may ask for a derivative of a function of `tensors`."""
    if torch.is_grad_enabled():
        for t in tensors:
            if t.requires_grad:
                return True
    return forward_ad._current_level >= 0


def _stand_ins(like: Sequence[tuple[Any, ...]], grad: Tensor) -> list[Tensor]:
    """Tensors with the parameters' shapes, dtypes and devices, which is all that an affine map's gradient reads."""
    return [
        grad
        if shape == grad.shape and dtype == grad.dtype
        else torch.empty((), dtype=dtype, device=device).expand(shape)
        for shape, dtype, device in like
    ]


def _or_zeros(tensors: Sequence[Tensor | None], like: Sequence[tuple[Any, ...]]) -> list[Tensor]:
    return [
        torch.zeros((), dtype=dtype, device=device) if t is None else t
        for t, (_, dtype, device) in zip(tensors, like, strict=True)
    ]
