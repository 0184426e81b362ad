"""Gradients of formulas, of the operations that :mod:`formula.trace` records of them.

A gradient is a function like one that is written by hand: of symbols, of which C++ and Triton are made, it records its
operations beside the formula's; of tensors it runs them, so that all backends compute the same.

From the result backward, as parameters then share what their products have in common; but forward where a formula makes
a choice, as what a case that is not chosen would give drops out, and what is large is multiplied last.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .elementary import MASKS, OPERATIONS, times
from .trace import LOADED, Function, Operation, Symbol, Trace, traced


def gradient_of(function: Callable[..., Any]) -> Callable[..., tuple[Tensor, ...]]:
    """`(noise, grad, *parameters) -> ` the gradient of each parameter, of a function `(noise, *parameters)`."""

    def gradient(noise: Any, grad: Any, *params: Any) -> tuple[Any, ...]:
        if not isinstance(grad, Symbol):
            return _run(gradient, noise, grad, *params)
        return _or_zeros(grad, _gradients(function(noise, *params), grad, params))

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
        density, sample = log_density(noise, *params), reference(noise, *params)
        by_noise, *of_density = (_slope(density, x) for x in (noise, *params))
        to_noise, *of_sample = (_slope(sample, x) for x in (noise, *params))
        per_sample = by_noise / to_noise
        moved = [None if slope is None else -times(slope, per_sample) for slope in of_sample]
        slopes = [_sum(*both) for both in zip(of_density, moved, strict=True)]
        return _or_zeros(grad, [None if slope is None else times(slope, grad) for slope in slopes])

    return score


def _or_zeros(grad: Any, gradients: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(torch.zeros_like(grad) if x is None else x for x in gradients)


def _sum(x: Any, y: Any) -> Any:
    return y if x is None else x if y is None else x + y


def _steps_to(result: Symbol) -> list[Operation]:
    if result.trace.choice is not None:
        raise NotImplementedError("the derivative of a choice between cases")
    return result.trace.steps[: result.step + 1]


def _gradients(result: Symbol, grad: Symbol, inputs: Sequence[Symbol]) -> list[Any]:
    """The gradient of each input: a symbol, or None for 0."""
    trace, steps = result.trace, _steps_to(result)
    used = Function(steps, [result.step], 0).used()
    read = {x.step for x in inputs}.intersection(used)
    moving: set[int | float] = set(read)
    for i in used:
        name, operands = steps[i]
        # 1.0 equals the number of a step.
        if (
            name not in LOADED
            and not OPERATIONS[name].mask
            and any(isinstance(x, int) and x in moving for x in operands)
        ):
            moving.add(i)
    moved = [i for i in used if i in moving and i not in read]
    if any(OPERATIONS[steps[i].name].picks or steps[i].name == "clamp" for i in moved):
        slopes = [_slope(result, x) for x in inputs]
        return [None if slope is None else times(slope, grad) for slope in slopes]
    gradients: dict[int | float, Any] = {result.step: grad}
    for i in reversed(moved):
        name, operands = steps[i]
        values = [_value(trace, x) for x in operands]
        for x, rule in zip(operands, OPERATIONS[name].tangents, strict=True):
            if rule and isinstance(x, int) and x in moving:
                gradients[x] = _sum(gradients.get(x), rule(gradients[i], _value(trace, i), *values))
    return [gradients.get(x.step) for x in inputs]


def _value(trace: Trace, operand: int | float) -> Any:
    if not isinstance(operand, int):
        return operand
    return Symbol(trace, operand, torch.bool if trace.steps[operand].name in MASKS else trace.dtype)


def _slope(result: Symbol, of: Symbol) -> Any:
    """The derivative: a symbol, a number, or None for 0."""
    trace, steps = result.trace, _steps_to(result)
    used = set(Function(steps, [result.step], 0).used())
    value = functools.partial(_value, trace)
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
