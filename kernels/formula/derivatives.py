"""Gradients of formulas, by forward mode on the operations that :mod:`formula.translate` records of them.

A gradient is a function like one that is written by hand: of symbols, of which C++ and Triton are made, it records its
operations beside the formula's; of tensors it runs them, so that all backends compute the same. Forward, as what a case
that is not chosen would give drops out, and what is large is multiplied last.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .translate import MASKS, Function, Symbol, traced


def _times(tangent: Any, x: Any) -> Any:
    if isinstance(tangent, float) and abs(tangent) == 1:
        return x if tangent > 0 else -x
    return tangent * x


def _log(x: Any) -> Any:
    return math.log(x) if isinstance(x, float) else torch.log(x)


# What the tangent t of an operand makes of the result y; by operand, None where that is nothing.
_RULES: dict[str, tuple[Callable[..., Any] | None, ...]] = {
    "add": (lambda t, y, a, b: t, lambda t, y, a, b: t),
    "sub": (lambda t, y, a, b: t, lambda t, y, a, b: -t),
    "mul": (lambda t, y, a, b: _times(t, b), lambda t, y, a, b: _times(t, a)),
    "div": (lambda t, y, a, b: t / b, lambda t, y, a, b: -_times(t, y) / b),
    "addcmul": (lambda t, y, a, b, c: t, lambda t, y, a, b, c: _times(t, c), lambda t, y, a, b, c: _times(t, b)),
    "neg": (lambda t, y, a: -t,),
    "abs": (lambda t, y, a: torch.where(a < 0, -t, t),),
    "copysign": (lambda t, y, a, b: torch.where(y == a, t, -t), None),
    "reciprocal": (lambda t, y, a: -_times(t, y) * y,),
    "sqrt": (lambda t, y, a: 0.5 * t / y,),
    "rsqrt": (lambda t, y, a: -0.5 * _times(t, y) / a,),
    "exp": (lambda t, y, a: _times(t, y),),
    "expm1": (lambda t, y, a: _times(t, y + 1),),
    "log": (lambda t, y, a: t / a,),
    "log1p": (lambda t, y, a: t / (1 + a),),
    "tanh": (lambda t, y, a: _times(t, 1 - y * y),),
    "sin": (lambda t, y, a: _times(t, torch.cos(a)),),
    "cos": (lambda t, y, a: -_times(t, torch.sin(a)),),
    "tan": (lambda t, y, a: _times(t, 1 + y * y),),
    "pow": (lambda t, y, a, b: _times(t, b * a ** (b - 1)), lambda t, y, a, b: _times(t, y * _log(a))),
    "atan": (lambda t, y, a: t / (1 + a * a),),
    "erf": (lambda t, y, a: (2 / math.sqrt(math.pi)) * _times(t, torch.exp(-a * a)),),
    "clamp": (lambda t, y, a, low, high: torch.where(y == a, t, 0.0), None, None),
}
# Of operations that pick one of two operands, which has the first one's tangent.
_PICKED: dict[str, Callable[..., Any]] = {
    "where": lambda mask, a, b: mask,
    "maximum": lambda a, b: a > b,
    "minimum": lambda a, b: a < b,
}
_CONSTANT = ("floor", *MASKS)


def gradient_of(function: Callable[..., Any]) -> Callable[..., tuple[Tensor, ...]]:
    """`(noise, grad, *parameters) -> ` the gradient of each parameter, of a function `(noise, *parameters)`."""

    def gradient(noise: Any, grad: Any, *params: Any) -> tuple[Any, ...]:
        if not isinstance(grad, Symbol):
            return _run(gradient, noise, grad, *params)
        return tuple(_product(grad, slope) for slope in _slopes(function(noise, *params), params))

    return gradient


def score_of(reference: Callable[..., Any], log_density: Callable[..., Any]) -> Callable[..., tuple[Tensor, ...]]:
    """`(noise, grad, *parameters) -> ` the gradient of the log-density at a constant sample.

    Args:
        reference: the sample, as a function of one noise, which then moves with the parameters, and of these.
        log_density: at the sample, as a function of the same.
    """

    def score(noise: Any, grad: Any, *params: Any) -> tuple[Any, ...]:
        if not isinstance(grad, Symbol):
            return _run(score, noise, grad, *params)
        by_noise, *of_density = _slopes(log_density(noise, *params), (noise, *params))
        to_noise, *of_sample = _slopes(reference(noise, *params), (noise, *params))
        per_sample = by_noise / to_noise
        moved = [None if slope is None else _times(slope, per_sample) for slope in of_sample]
        return tuple(_product(grad, _sum(x, None if m is None else -m)) for x, m in zip(of_density, moved, strict=True))

    return score


def _sum(x: Any, y: Any) -> Any:
    return y if x is None else x if y is None else x + y


def _product(grad: Any, slope: Any) -> Any:
    return torch.zeros_like(grad) if slope is None else _times(slope, grad)


def _slopes(result: Symbol, inputs: Sequence[Symbol]) -> list[Any]:
    """The derivative with respect to each input: a symbol, a number, or None for 0."""
    if result.trace.choice is not None:
        raise NotImplementedError("the derivative of a choice between cases")
    return [_slope(result, x) for x in inputs]


def _slope(result: Symbol, of: Symbol) -> Any:
    trace = result.trace
    steps = trace.steps[: result.step + 1]
    used = set(Function(steps, [result.step], 0).used())

    def value(operand: int | float) -> Any:
        if not isinstance(operand, int):
            return operand
        return Symbol(trace, operand, torch.bool if steps[operand].name in MASKS else trace.dtype)

    tangents: dict[int | float, Any] = {of.step: 1.0}
    for i, (name, operands) in enumerate(steps):
        if i not in used or i == of.step or name in ("noise", "input", "constant", *_CONSTANT):
            continue
        given = [tangents.get(x) if isinstance(x, int) else None for x in operands]
        if all(t is None for t in given):
            continue
        values = [value(x) for x in operands]
        if name in _PICKED:
            picked = (0.0 if t is None else t for t in given[-2:])
            tangents[i] = torch.where(_PICKED[name](*values), *picked)
        else:
            terms = [
                rule(t, value(i), *values)
                for rule, t in zip(_RULES[name], given, strict=True)
                if rule and t is not None
            ]
            if terms:
                tangents[i] = functools.reduce(operator.add, terms)
    return tangents.get(result.step)


_TORCH = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "or": operator.or_}


@functools.cache
def _steps(function: Callable[..., Any], inputs: int, dtype: torch.dtype, values: int) -> Function:
    return traced(function, inputs, dtype, values=values)


def _run(function: Callable[..., Any], noise: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
    """A function of symbols, of tensors of one dtype."""
    dtype, device = inputs[0].dtype, inputs[0].device
    noises = noise if isinstance(noise, tuple) else (noise,)
    made = _steps(function, len(inputs), dtype, len(noises))
    done: dict[int, Tensor] = {}

    def operand(x: int | float) -> Tensor:
        # A tensor of the dtype: `where` of two numbers would make one of the default dtype.
        return done[x] if isinstance(x, int) else torch.full((), x, dtype=dtype, device=device)

    for i in made.used():
        name, operands = made.steps[i]
        if name == "noise":
            done[i] = noises[int(operands[0])]
        elif name == "input":
            done[i] = inputs[int(operands[0])]
        elif name == "constant":
            done[i] = operand(float(operands[0])).expand(inputs[0].shape)
        else:
            done[i] = (_TORCH.get(name) or getattr(torch, name))(*map(operand, operands))
    return tuple(operand(r) for r in made.results)
