"""A formula as a list of operations, by running its torch code on symbols.

The reference of a law is straight-line elementwise torch code, so calling it with a `Symbol` for every tensor visits
each operation once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from .elementary import MASKS, VECTOR, operands_of

_SAME = {"truediv": "div"}


class Operation(NamedTuple):
    """One step: a name of `elementary.OPERATIONS`, or "noise", "input" or "constant", of a number.

    Attributes:
        operands: numbers of earlier steps, and constants.
    """

    name: str
    operands: tuple[int | float, ...]


class Symbol:
    """A value of the translated function: acts as a tensor of one dtype and records what is done to it."""

    def __init__(self, trace: Trace, step: int, dtype: torch.dtype):
        self.trace, self.step, self.dtype = trace, step, dtype

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        trace = next(arg.trace for arg in args if isinstance(arg, Symbol))
        return trace.apply(function.__name__, args, **(kwargs or {}))

    def to(self, dtype: torch.dtype) -> Any:
        return self.trace.convert(self, dtype)

    def detach(self) -> Symbol:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Tensor methods: x.exp() is torch.exp(x)."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args: self.trace.apply(name, (self, *args))


def _method(name: str, swap: bool = False) -> Callable[..., Any]:
    def method(self: Symbol, *other: Any) -> Any:
        args = (*other, self) if swap else (self, *other)
        return self.trace.apply(name, args)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Symbol, f"__{_name}__", _method(_name))
    setattr(Symbol, f"__r{_name}__", _method(_name, swap=True))
for _name in ("neg", "abs", *MASKS):
    setattr(Symbol, f"__{_name}__", _method(_name))


class Trace:
    """The steps of one function in the making, in which every tensor has the dtype `dtype` or is a mask."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.steps: list[Operation] = []
        self.choice: Choice | None = None
        self._known: dict[str, Symbol] = {}

    def symbol(self, name: str, operands: Sequence[int | float], dtype: torch.dtype) -> Symbol:
        # The same operation is the same value; C++ compilers do not know that of calls into a vector library.
        operation = Operation(name, tuple(operands))
        known = repr(operation)  # as 0.0 and -0.0 are equal
        if known not in self._known:
            self._known[known] = Symbol(self, len(self.steps), dtype)
            self.steps.append(operation)
        return self._known[known]

    def operand(self, value: Any) -> int | float:
        if isinstance(value, Symbol):
            return value.step
        if isinstance(value, (bool, int, float)):
            return float(value)
        raise NotImplementedError(f"a formula may use its noise, its parameters and numbers; got {value!r}")

    def apply(self, name: str, args: Sequence[Any], **kwargs: Any) -> Any:
        name = _SAME.get(name, name)
        operands = [self.operand(arg) for arg in args]
        if name == "sub" and list(kwargs) == ["alpha"]:
            return args[0] - args[1] * kwargs["alpha"]
        if name in ("zeros_like", "ones_like") and not kwargs:
            return self.symbol("constant", (float(name == "ones_like"),), self.dtype)
        masks = [isinstance(arg, Symbol) and arg.dtype == torch.bool for arg in args]
        takes_mask = name == "or" or (name == "where" and not any(masks[1:]))
        if kwargs or name not in VECTOR or len(args) != operands_of(name) or (any(masks) and not takes_mask):
            raise NotImplementedError(f"{name} has no C++ translation with these arguments")
        return self.symbol(name, operands, torch.bool if name in MASKS else self.dtype)

    def choose(
        self, masks: Sequence[Symbol], cases: Sequence[tuple[Callable[..., tuple[Any, ...]], Sequence[Symbol]]]
    ) -> tuple[Symbol, ...]:
        """What :func:`formula.cases.by_case` gives of functions and operands, and of all masks but the last."""
        if self.choice is not None:
            raise NotImplementedError("a formula may choose between cases once")
        code: Any = float(len(masks))
        for i, mask in reversed(list(enumerate(masks))):
            code = self.apply("where", (mask, float(i), code))
        functions = [traced(lambda _, *x, f=f: f(*x), len(given), self.dtype) for f, given in cases]
        self.choice = Choice(len(self.steps), code.step, functions, [[x.step for x in given] for _, given in cases])
        return tuple(self.symbol("chosen", (i,), self.dtype) for i in range(len(functions[0].results)))

    def convert(self, symbol: Symbol, dtype: torch.dtype) -> Any:
        if symbol.dtype == dtype:
            return symbol
        if symbol.dtype == torch.bool and dtype == self.dtype:
            return self.symbol("where", (symbol.step, 1.0, 0.0), dtype)
        raise NotImplementedError(f"no conversion from {symbol.dtype} to {dtype} inside a formula")


class Choice(NamedTuple):
    """Functions of which each element takes one.

    Attributes:
        at: how many steps come before it.
        code: the step that gives the number of an element's function.
        operands: steps, by function.
    """

    at: int
    code: int
    functions: list[Function]
    operands: list[list[int]]


class Function(NamedTuple):
    """A translated function: its steps, and what its results are: numbers of steps, or constants.

    Its steps "chosen" are the results of the choice.
    """

    steps: list[Operation]
    results: list[int | float]
    inputs: int
    choice: Choice | None = None
    values: int = 1  # of the noise

    def used(self, first: int = 0) -> list[int]:
        """The steps from a number on that results depend on; the choice counts for no step before it."""
        needed = {r for r in self.results if isinstance(r, int)}
        for i in range(len(self.steps) - 1, first - 1, -1):
            if i in needed and self.steps[i].name not in LOADED:
                needed |= {x for x in self.steps[i].operands if isinstance(x, int)}
        return sorted(i for i in needed if i >= first)


LOADED = ("noise", "input", "constant", "chosen")  # whose operands are no steps


def traced(function: Callable[..., Any], inputs: int, dtype: torch.dtype, *, values: int = 1) -> Function:
    """The steps of `function(noise, *inputs)`, a result or a tuple of results.

    Args:
        values: how many numbers the noise of an element has; if several, `function` takes a tuple of them.

    Raises:
        NotImplementedError: the function does something that has no translation.
    """
    trace = Trace(dtype)
    noise = [trace.symbol("noise", (i,), dtype) for i in range(values)]
    symbols: list[Any] = [tuple(noise) if values > 1 else noise[0]]
    symbols += [trace.symbol("input", (i,), dtype) for i in range(inputs)]
    # A draw of a subclass of tensors comes here with torch functions switched off, by which symbols are seen.
    with torch._C._EnableTorchFunction():
        given = function(*symbols)
    results = given if isinstance(given, tuple) else (given,)
    return Function(trace.steps, [trace.operand(r) for r in results], inputs, trace.choice, values)


def flattened(function: Function) -> Function:
    """The same without a choice, whose functions are all computed before one is picked; and without unread steps."""
    steps: list[Operation] = []
    places: dict[int, int | float] = {}

    def add(name: str, operands: Sequence[int | float]) -> int:
        steps.append(Operation(name, tuple(operands)))
        return len(steps) - 1

    def moved(operands: Sequence[int | float], places: dict[int, int | float]) -> list[int | float]:
        return [places[x] if isinstance(x, int) else x for x in operands]

    def follow(step: Operation, places: dict[int, int | float]) -> int:
        return add(step.name, step.operands if step.name in LOADED else moved(step.operands, places))

    def results_of(chosen: Function, given: Sequence[int]) -> list[int | float]:
        own: dict[int, int | float] = {}
        for i in chosen.used():
            step = chosen.steps[i]
            own[i] = places[given[int(step.operands[0])]] if step.name == "input" else follow(step, own)
        return moved(chosen.results, own)

    used, choice = function.used(), function.choice
    picked: list[int | float] = []
    if choice is not None:
        read = [choice.code, *(x for given in choice.operands for x in given)]
        used = sorted({*used, *Function(function.steps[: choice.at], [*read], 0).used()})
    for i in used:
        step = function.steps[i]
        if step.name == "chosen" and not picked:
            assert choice is not None
            *cases, picked = map(results_of, choice.functions, choice.operands)
            for number, case in reversed(list(enumerate(cases))):
                mask = add("eq", (places[choice.code], float(number)))
                picked = [add("where", (mask, x, y)) for x, y in zip(case, picked, strict=True)]
        places[i] = picked[int(step.operands[0])] if step.name == "chosen" else follow(step, places)
    return Function(steps, moved(function.results, places), function.inputs, None, function.values)


def with_cotangents(function: Function) -> Function:
    """The same with one operation for the cotangent of pi t; of special.py."""
    steps = list(function.steps)

    def step(operand: int | float) -> Operation:
        return steps[operand] if isinstance(operand, int) else Operation("constant", (operand,))

    for i, (name, operands) in enumerate(steps):
        tangent = step(operands[0]) if name == "reciprocal" else None
        angle = step(tangent.operands[0]) if tangent is not None and tangent.name == "tan" else None
        if angle is not None and angle.name == "mul" and math.pi in angle.operands:
            steps[i] = Operation("cotangent", tuple(x for x in angle.operands if x != math.pi))
    return function._replace(steps=steps)
