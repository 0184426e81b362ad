"""Gradients of formulas, by forward mode on the operations that :mod:`formula.trace` records of them.

A gradient is a function like one that is written by hand: of symbols, of which C++ and Triton are made, it records its
operations beside the formula's; of tensors it runs them, so that all backends compute the same. Forward, as what a case
that is not chosen would give drops out, and what is large is multiplied last.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .elementary import MASKS, OPERATIONS, times
from .trace import Function, Symbol, traced


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
        moved = [None if slope is None else times(slope, per_sample) for slope in of_sample]
        return tuple(_product(grad, _sum(x, None if m is None else -m)) for x, m in zip(of_density, moved, strict=True))

    return score


def _sum(x: Any, y: Any) -> Any:
    return y if x is None else x if y is None else x + y


def _product(grad: Any, slope: Any) -> Any:
    return torch.zeros_like(grad) if slope is None else times(slope, grad)


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
        if i not in used or i == of.step or name in ("noise", "input", "constant") or OPERATIONS[name].mask:
            continue
        given = [tangents.get(x) if isinstance(x, int) else None for x in operands]
        if all(t is None for t in given):
            continue
        values = [value(x) for x in operands]
        operation = OPERATIONS[name]
        if operation.picks:
            picked = (0.0 if t is None else t for t in given[-2:])
            tangents[i] = torch.where(operation.picks(*values), *picked)
        else:
            terms = [
                rule(t, value(i), *values)
                for rule, t in zip(operation.tangents, given, strict=True)
                if rule and t is not None
            ]
            if terms:
                tangents[i] = functools.reduce(operator.add, terms)
    return tangents.get(result.step)


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
            done[i] = (OPERATIONS[name].torch or getattr(torch, name))(*map(operand, operands))
    return tuple(operand(r) for r in made.results)
