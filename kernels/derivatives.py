"""Gradients of a map's formulas: reverse mode over the operations that :mod:`rsample.kernels.translate` records.

A gradient is a formula as well. It runs on tensors, where it can be differentiated again, and on symbols, of which the
functions for a GPU and the loops for the CPU are made.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .translate import COMPARISONS, Function, Symbol, traced

# Operation -> for each operand the gradient, of the result's gradient g, the result y and the operands (Griewank and
# Walther, "Evaluating Derivatives", 2nd edition, 2008, table 3.4); None where it has none.
_RULES: dict[str, tuple[Callable[..., Any] | None, ...]] = {
    "add": (lambda g, y, a, b: g, lambda g, y, a, b: g),
    "sub": (lambda g, y, a, b: g, lambda g, y, a, b: -g),
    "mul": (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    "div": (lambda g, y, a, b: g / b, lambda g, y, a, b: -(g / b * y)),
    "addcmul": (lambda g, y, a, b, c: g, lambda g, y, a, b, c: g * c, lambda g, y, a, b, c: g * b),
    "pow": (lambda g, y, a, b: g * (b * a ** (b - 1)), lambda g, y, a, b: g * (y * torch.log(a))),
    "neg": (lambda g, y, a: -g,),
    "reciprocal": (lambda g, y, a: -(g * y * y),),
    "abs": (lambda g, y, a: torch.where(a < 0, -g, g),),
    "sqrt": (lambda g, y, a: g * 0.5 / y,),
    "rsqrt": (lambda g, y, a: g * -0.5 * y / a,),
    "exp": (lambda g, y, a: g * y,),
    "expm1": (lambda g, y, a: g * (y + 1),),
    "log": (lambda g, y, a: g / a,),
    "log1p": (lambda g, y, a: g / (1 + a),),
    "tanh": (lambda g, y, a: g * (1 - y * y),),
    "sin": (lambda g, y, a: g * torch.cos(a),),
    "cos": (lambda g, y, a: -(g * torch.sin(a)),),
    "tan": (lambda g, y, a: g * (1 + y * y),),
    "atan": (lambda g, y, a: g / (1 + a * a),),
    "erf": (lambda g, y, a: g * (2 / math.sqrt(math.pi) * torch.exp(-a * a)),),
    "floor": (None,),
    "copysign": (lambda g, y, a, b: torch.where(a * b < 0, -g, g), None),
    "where": (None, lambda g, y, m, a, b: torch.where(m, g, 0.0), lambda g, y, m, a, b: torch.where(m, 0.0, g)),
    "maximum": (lambda g, y, a, b: torch.where(a > b, g, 0.0), lambda g, y, a, b: torch.where(a > b, 0.0, g)),
    "minimum": (lambda g, y, a, b: torch.where(a < b, g, 0.0), lambda g, y, a, b: torch.where(a < b, 0.0, g)),
    "clamp": (lambda g, y, a, low, high: _inside(g, a, low, high), None, None),
}

# Operation -> what does it to tensors, where that is not the function of torch of that name.
_TENSORS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name) for name in ("add", "sub", "mul", "pow", "neg")
}
_TENSORS |= {name: getattr(operator, name) for name in COMPARISONS} | {"div": operator.truediv, "or": operator.or_}


def _inside(g: Any, a: Any, low: Any, high: Any) -> Any:
    """g where a is not beyond one of the bounds."""
    for beyond, bound in ((operator.lt, low), (operator.gt, high)):
        if not (isinstance(bound, float) and math.isinf(bound)):
            g = torch.where(beyond(a, bound), 0.0, g)
    return g


def gradient(formula: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """The gradient of `formula(noise, *parameters)`, a number for each element: `(noise, grad, *parameters) -> tuple`.

    It has one number for each element and parameter, whatever the shapes of the parameters.
    """

    @functools.cache
    def function(values: int, parameters: int, dtype: torch.dtype) -> Function:
        return traced(of_formula, 1 + parameters, dtype, values=values)

    @functools.wraps(formula)
    def of_formula(noise: Any, grad: Any, *parameters: Any) -> tuple[Any, ...]:
        if isinstance(grad, Symbol):
            return _reverse(formula(noise, *parameters), grad, parameters)
        values = len(noise) if isinstance(noise, tuple) else 1
        steps = function(values, len(parameters), grad.dtype)
        return performed(steps, noise, grad, *parameters)

    return of_formula


def _reverse(result: Symbol, grad: Any, wanted: Sequence[Symbol]) -> tuple[Any, ...]:
    """The gradients of the symbols that are wanted, for that of the result of the same trace."""
    trace = result.trace
    if trace.choice is not None:
        raise NotImplementedError("a choice between cases has no derived gradient")
    steps = trace.steps[: result.step + 1]
    symbols = {i: Symbol(trace, i, trace.dtype) for i in range(len(steps))}
    moves = {x.step for x in wanted}
    for i, (name, operands) in enumerate(steps):
        if name in _RULES and not moves.isdisjoint(x for x in operands if isinstance(x, int)):
            moves.add(i)
    grads: dict[int, Any] = {result.step: grad}
    for i in reversed(range(len(steps))):
        name, operands = steps[i]
        if i not in grads or i not in moves or name not in _RULES:
            continue
        values = [symbols[x] if isinstance(x, int) else x for x in operands]
        for operand, rule in zip(operands, _RULES[name], strict=True):
            if rule is not None and isinstance(operand, int) and operand in moves:
                term = rule(grads[i], symbols[i], *values)
                grads[operand] = grads[operand] + term if operand in grads else term
    return tuple(grads[x.step] if x.step in grads else torch.zeros_like(grad) for x in wanted)


def performed(function: Function, noise: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The results of a recorded function that makes no choice, on tensors."""
    noises = noise if isinstance(noise, tuple) else (noise,)
    values: list[Any] = []
    for name, operands in function.steps:
        if name in ("noise", "input"):
            values.append((noises if name == "noise" else inputs)[int(operands[0])])
            continue
        given: list[Any] = [values[x] if isinstance(x, int) else x for x in operands]
        if name == "constant":
            values.append(torch.full_like(noises[0], operands[0]))
        elif name == "where" and not any(isinstance(x, Tensor) for x in given[1:]):
            values.append(torch.where(given[0], torch.full_like(noises[0], given[1]), given[2]))
        else:
            values.append((_TENSORS.get(name) or getattr(torch, name))(*given))
    return tuple(values[r] if isinstance(r, int) else torch.full_like(noises[0], r) for r in function.results)
