"""Gradients, forward-mode derivatives and vmap of draws: the torch.autograd.Function classes.

`Draw` has no gradient. `PathwiseDraw` keeps the key and the parameters; its gradient is a kernel that makes the noise
again, `PathwiseDrawBackward`, and what lies beyond first derivatives is put together from torch operations;
`MovingNoise` is how noise whose law depends on parameters takes part in that.

`AffineDraw` is for laws that are affine in their parameters, jointly (location-scale families, Uniform): with the noise
fixed the draw is a linear map F of the parameters. Its transpose is `AffineDrawBackward`, the transpose of that is F
again, and the tangent of each is itself; so every order of derivative is one of two kernels, and only the key is kept
for them.

Under vmap a draw is one draw. randomness="different" makes the mapped dimension the leading dimension of the logical
shape; "same" gives every example the same noise; a mapped key draws per key. The `marker`, an empty tensor, tells
the rules that examples differ even where no parameter is mapped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..engines.eager.elementwise import reduced
from ..engines.outputs import Outputs, as_tuple
from ..laws.law import Law
from ..laws.rejection.noise import LoopNoise
from ..laws.standard_noise import STANDARD_LAWS, standard_loop_law, standard_pair_law
from ..stream.noise import NoisePair, compute_dtype
from .lean_function import LeanFunction, or_zeros, stand_ins, wants_derivative
from .operators import Operators
from .ops import LawOperators
from .vmapping import vmapped_backward, vmapped_draw


class Draw(LeanFunction):
    """A draw without gradient: apply(operators, key, marker, shape, dtype, *params)."""

    @staticmethod
    def forward(
        operators: Operators,
        key: tuple[Tensor, ...],
        marker: Tensor | None,
        shape: Sequence[int],
        dtype: torch.dtype,
        *params: Tensor,
    ) -> Outputs:
        return operators.forward(key, params, shape, dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
        ctx.mark_non_differentiable(*as_tuple(output))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
        raise AssertionError("a draw without gradient has no backward")

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        return None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        return vmapped_draw(Draw, info, in_dims, *args)


class PathwiseDraw(LeanFunction):
    """A draw with gradients: apply(operators, key, marker, shape, dtype, *params)."""

    forward = Draw.forward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
        ctx.operators, key, marker, ctx.shape, ctx.dtype, *params = inputs
        PathwiseDraw.keep(ctx, key, marker, params, output)
        ctx.save_for_forward(*key, marker, *params)

    @staticmethod
    def keep(ctx: Any, key: Sequence[Tensor], marker: Tensor | None, params: Sequence[Tensor], output: Outputs) -> None:
        """Saves what backward needs."""
        constants = [x for i, x in enumerate(as_tuple(output)) if i not in ctx.operators.law.cotangents]
        ctx.mark_non_differentiable(*constants)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*key, marker, *params)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        operators = ctx.operators
        key, marker, params = _split(ctx.saved_tensors, len(operators.law.parameters))
        given = [grads[i] for i in operators.law.cotangents]
        needs = tuple(ctx.needs_input_grad[-len(params) :])
        if all(g is None for g in given) or not any(needs):
            return (None,) * (5 + len(params))
        given = [_zero(ctx).expand(ctx.shape) if g is None else g for g in given]
        derivative = torch._C._are_functorch_transforms_active() or wants_derivative((*given, *params))
        if derivative and len(operators.law.cotangents) < operators.law.outputs:
            sample = _constant_sample(ctx, key, marker, params)
            vjp: Any = torch.func.vjp(lambda *params: operators.law.density.at(sample, *params), *params)[1]
            return None, None, None, None, None, *vjp(given[0])
        if derivative:
            computed = PathwiseDrawBackward.apply(operators, key, marker, needs, *given, *params)
        else:
            computed = operators.backward(key, given, params, needs)
        ordered = iter(computed)
        return None, None, None, None, None, *(next(ordered) if needed else None for needed in needs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        law = ctx.operators.law
        key, marker, params = _split(ctx.saved_tensors, len(law.parameters))
        tangents = tangents[-len(params) :]
        if len(law.cotangents) < law.outputs:
            sample = _constant_sample(ctx, key, marker, params)
            tangents = tuple(torch.zeros_like(p) if t is None else t for p, t in zip(params, tangents, strict=True))
            return None, _push_forward(lambda *params: law.density.at(sample, *params), params, tangents)
        compute = compute_dtype(ctx.dtype)
        noise = _noise(ctx.operators, key, marker, ctx.shape, ctx.dtype, params)
        params = [p.to(compute) for p in params]
        if law.tangent is not None:
            return law.tangent(noise, *params, *(t.to(compute) for t in tangents)).to(ctx.dtype)
        noise = _moving(law.noise, noise, params)
        like = noise[0] if isinstance(noise, tuple) else noise
        outputs: list[Tensor | None] = [None] * law.outputs
        for i in law.cotangents:
            # The derivatives of output i, element by element.
            given = [torch.full((), float(i == k), dtype=compute, device=like.device) for k in law.cotangents]
            derivatives = zip(law.gradients(noise, *given, *params), tangents, strict=True)
            terms = [d * t.to(compute) for d, t in derivatives if t is not None]
            outputs[i] = sum(terms, start=torch.zeros_like(like)).to(ctx.dtype)
        return tuple(outputs) if law.joint else outputs[0]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        return vmapped_draw(PathwiseDraw, info, in_dims, *args)


class PathwiseDrawBackward(LeanFunction):
    """The gradients that `needs` marks: apply(operators, key, marker, needs, *given, *params).

    `given` are the gradients of the outputs that the law's cotangents name.
    """

    @staticmethod
    def forward(
        operators: LawOperators, key: tuple[Tensor, ...], marker: Tensor | None, needs: Sequence[bool], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        number = len(operators.law.cotangents)
        return tuple(operators.backward(key, tensors[:number], tensors[number:], needs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.operators, key, marker, ctx.needs, *tensors = inputs
        ctx.save_for_backward(*key, marker, *tensors)
        ctx.save_for_forward(*key, marker, *tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        function, tensors = _differentiable_backward(ctx)
        vjp: Any = torch.func.vjp(function, *tensors)[1]
        return None, None, None, None, *vjp(cotangents)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        function, tensors = _differentiable_backward(ctx)
        given = (torch.zeros_like(x) if t is None else t for x, t in zip(tensors, tangents[4:], strict=True))
        result: tuple[Tensor, ...] = _push_forward(function, tensors, tuple(given))
        return result

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
        number = len(args[0].law.cotangents)
        return vmapped_backward(PathwiseDrawBackward, info, in_dims, number, *args)


class AffineDraw(LeanFunction):
    """A draw that is affine in its parameters: apply(operators, key, marker, shape, dtype, *params).

    What it gives besides the sample does not depend on them.
    """

    forward = Draw.forward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
        ctx.operators, key, marker, ctx.shape, ctx.dtype, *params = inputs
        ctx.like = [(p.shape, p.dtype, p.device) for p in params]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*key, marker)
        ctx.save_for_forward(*key, marker)

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Any, ...]:
        *key, marker = ctx.saved_tensors
        grad, i = given[0], ctx.operators.location
        needs = list(ctx.needs_input_grad[-len(ctx.like) :])
        grads: list[Tensor | None] = [None] * len(needs)
        if grad is None:
            return None, None, None, None, None, *or_zeros(grads, ctx.like)
        if i is not None:
            shape, dtype, _ = ctx.like[i]
            if needs[i] and shape == grad.shape and dtype == grad.dtype:
                grads[i], needs[i] = grad, False
        if any(needs):
            like = stand_ins(ctx.like, grad)
            if torch._C._are_functorch_transforms_active() or wants_derivative((grad,)):
                computed = AffineDrawBackward.apply(ctx.operators, tuple(key), marker, tuple(needs), grad, *like)
            else:
                computed = ctx.operators.backward(key, (grad,), like, needs)
            ordered = iter(computed)
            grads = [next(ordered) if needed else g for g, needed in zip(grads, needs, strict=True)]
        return None, None, None, None, None, *grads

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Outputs:
        *key, marker = ctx.saved_tensors
        like = ctx.like
        drawn: Outputs = AffineDraw.apply(
            ctx.operators.tangent, tuple(key), marker, ctx.shape, ctx.dtype, *or_zeros(tangents[-len(like) :], like)
        )
        return (drawn[0], *map(torch.zeros_like, drawn[1:])) if isinstance(drawn, tuple) else drawn

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        return vmapped_draw(AffineDraw, info, in_dims, *args)


class AffineDrawBackward(LeanFunction):
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
        return tuple(operators.backward(key, (grad,), like, needs))

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
        drawn = AffineDraw.apply(
            ctx.operators.tangent, tuple(key), marker, ctx.shape, ctx.dtype, *or_zeros(params, ctx.like)
        )
        return None, None, None, None, as_tuple(drawn)[0], *(None for _ in ctx.like)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        *key, marker = ctx.saved_tensors
        tangent = tangents[4]
        like = stand_ins(ctx.like, tangent)
        return AffineDrawBackward.apply(ctx.operators, tuple(key), marker, ctx.needs, tangent, *like)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
        return vmapped_backward(AffineDrawBackward, info, in_dims, 1, *args)


class MovingNoise(Function):
    """The noise of a draw as a function of the parameters that its law depends on: apply(kind, *values, *params).

    Its values are given, already broadcast to the parameters' shape; its derivatives are those of `kind.slopes`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(kind: LoopNoise | NoisePair, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.clone() for x in tensors[: kind.values])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.kind, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        number = ctx.kind.values
        result: list[Tensor | None] = [None] * (1 + len(ctx.saved_tensors))
        for value, parameter, slope in _slopes(ctx):
            result[1 + number + parameter] = grads[value] * slope
        return tuple(result)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        number = ctx.kind.values
        result = [torch.zeros_like(x) for x in ctx.saved_tensors[:number]]
        for value, parameter, slope in _slopes(ctx):
            tangent = tangents[1 + number + parameter]
            result[value] = result[value] if tangent is None else slope * tangent
        return tuple(result)


def _slopes(ctx: Any) -> list[tuple[int, int, Tensor]]:
    params = ctx.saved_tensors[ctx.kind.values :]
    values = MovingNoise.apply(ctx.kind, *ctx.saved_tensors)
    slopes: list[tuple[int, int, Tensor]] = ctx.kind.slopes(values if len(values) > 1 else values[0], *params)
    return slopes


def _moving(kind: Any, noise: Any, params: Sequence[Tensor]) -> Any:
    """Noise as a function of the parameters, if it is one."""
    if not isinstance(kind, (LoopNoise, NoisePair)) or kind.slopes is None:
        return noise
    values = noise if isinstance(noise, tuple) else (noise,)
    moving = MovingNoise.apply(kind, *values, *(p.expand(values[0].shape) for p in params))
    return moving if len(moving) > 1 else moving[0]


def _split(saved: Sequence[Tensor], number: int) -> tuple[tuple[Tensor, ...], Tensor | None, list[Tensor]]:
    """Key, marker and the last `number` tensors of what a context has saved."""
    *key, marker = saved[: len(saved) - number]
    return tuple(key), marker, list(saved[len(saved) - number :])


def _constant_sample(ctx: Any, key: tuple[Tensor, ...], marker: Tensor | None, params: Sequence[Tensor]) -> Tensor:
    """The sample of a draw whose score alone has derivatives, made again: the caller may have overwritten it."""
    outputs = Draw.apply(ctx.operators, key, marker, ctx.shape, ctx.dtype, *(p.detach() for p in params))
    sample: Tensor = outputs[0]
    return sample


def _push_forward(function: Callable[..., Any], primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Any:
    """The tangent of a function's result, as the transpose of its transpose.

    Outside of functorch levels of forward mode do not nest.
    """
    outputs, vjp = torch.func.vjp(function, *primals)[:2]
    single = isinstance(outputs, Tensor)
    zeros = torch.zeros_like(outputs) if single else tuple(torch.zeros_like(x) for x in outputs)
    transpose: Any = torch.func.vjp(vjp, zeros)[1]
    return transpose(tuple(tangents))[0]


def _zero(ctx: Any) -> Tensor:
    return torch.zeros((), dtype=ctx.dtype, device=ctx.saved_tensors[-1].device)


def _noise(
    operators: LawOperators,
    key: tuple[Tensor, ...],
    marker: Tensor | None,
    shape: Sequence[int],
    dtype: torch.dtype,
    params: Sequence[Tensor],
) -> Any:
    """The noise of a draw as its law takes it, of its compute dtype."""
    kind = operators.law.noise
    compute = compute_dtype(dtype)
    if isinstance(kind, LoopNoise):
        params = [p.detach().to(compute) for p in params]
        laws = [standard_loop_law(kind, operators.law.parameters, i) for i in range(kind.values)]
        values = [Draw.apply(_standard(law), key, marker, tuple(shape), compute, *params) for law in laws]
        return tuple(values) if len(values) > 1 else values[0]
    if isinstance(kind, NoisePair):
        like = torch.zeros((), dtype=compute, device=params[0].device)
        laws = [standard_pair_law(kind, i) for i in range(kind.values)]
        return tuple(Draw.apply(_standard(law), key, marker, tuple(shape), compute, like) for law in laws)
    drawn = dtype if kind.native_resolution else compute
    like = torch.zeros((), dtype=drawn, device=params[0].device)
    noise: Tensor = Draw.apply(_standard(STANDARD_LAWS[kind.name]), key, marker, tuple(shape), drawn, like)
    return noise.to(compute)


def operators_of(law: Law, kind: type[LawOperators] = LawOperators) -> LawOperators:
    """A law's operators, which know the Function of its draws."""
    operators = kind(law)
    operators.function = AffineDraw if law.linear else PathwiseDraw if law.cotangents else Draw
    return operators


_STANDARD: dict[str, LawOperators] = {}
_STANDARD_LOCK = threading.Lock()


def _standard(law: Law) -> LawOperators:
    """The operators of a law that draws the noise itself, by name: laws of different laws may share a noise."""
    with _STANDARD_LOCK:  # an operator can be defined once
        if law.name not in _STANDARD:
            _STANDARD[law.name] = operators_of(law)
        return _STANDARD[law.name]


def _differentiable_backward(ctx: Any) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """`PathwiseDrawBackward` as torch operations, and the tensors that it is a function of."""
    law = ctx.operators.law
    number = len(law.cotangents)
    key, marker, tensors = _split(ctx.saved_tensors, number + len(law.parameters))
    grad = tensors[0]
    compute = compute_dtype(grad.dtype)
    noise = _noise(ctx.operators, key, marker, grad.shape, grad.dtype, tensors[number:])

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        given, params = tensors[:number], [p.to(compute) for p in tensors[number:]]
        moving = _moving(law.noise, noise, params)
        grads = law.gradients(moving, *(t.to(compute) for t in given), *params)
        return tuple(reduced(grads, tensors[number:], grad.shape, ctx.needs))

    return function, tensors
