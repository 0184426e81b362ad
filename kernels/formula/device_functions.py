"""Triton device functions from torch references: what :mod:`formula.trace` traces, printed for a GPU.

A function is the source of a Python module of its own: a real file in the cache folder, so that tracebacks, profilers
and Triton itself find it. The same reference gives the same text in every process, as Triton's cache keys on it.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

from ..runtime import cache
from .elementary import OPERATIONS
from .schedule import conditions
from .trace import Function, Operation, flattened, traced, with_cotangents

# The functions of devicemath.py that are called.
_FUNCTIONS = set(re.findall(r"(?<![.\w])(\w+)\(", " ".join(o.device for o in OPERATIONS.values() if o.device)))


class Definition(NamedTuple):
    """What a Triton function is made of, the arguments of `device_function`."""

    name: str
    reference: Callable[..., Any]
    arguments: tuple[str, ...]
    read: int | None = None
    values: int = 1


@functools.cache
def device_function(
    name: str, reference: Callable[..., Any], arguments: tuple[str, ...], read: int | None = None, values: int = 1
) -> Any:
    """The Triton function of a torch reference, which takes a compile-time HARDWARE at the end.

    Args:
        reference: `(*arguments) -> ` a tensor or a tuple of tensors.
        arguments: their names; the first one is the noise, which has the shape and the dtype that constants get.
        read: how many of the arguments the Triton function takes, where the reference does not read the others.
        values: how many numbers the noise of an element has; if several, it is a tuple of them.

    Raises:
        NotImplementedError: the reference does something that has no translation.
    """
    return loaded(name, source(name, reference, arguments, read, values))


def loaded(name: str, text: str) -> Any:
    """The Triton function of a name in the text of a module."""
    module = ModuleType(f"rsample.{name}")
    module.__file__ = str(_written(name, text))
    exec(compile(text, module.__file__, "exec"), module.__dict__)
    sys.modules[module.__name__] = module  # where `inspect` looks first
    return getattr(module, name)


def imported(function: Any) -> tuple[str, str]:
    """The name of a Triton function of this package that is written by hand, and the line that imports it."""
    written = function.fn
    return written.__name__, f"from {written.__module__} import {written.__name__}"


def source(
    name: str, reference: Callable[..., Any], arguments: Sequence[str], read: int | None = None, values: int = 1
) -> str:
    """The text of the module that :func:`device_function` loads."""
    return module_of(name, definition(name, reference, arguments, read, lambda _: values))


def inlined(
    name: str, reference: Callable[..., Any], arguments: Sequence[str], read: int | None = None, values: int = 1
) -> str:
    """The same as lines of another module."""
    return _lines_of(definition(name, reference, arguments, read, lambda _: values))


def module_of(name: str, *definitions: Sequence[str], imports: Sequence[str] = ()) -> str:
    """The text of a module of Triton functions."""
    made = f'"""Made from the torch reference of {name}; what is changed here has no effect."""'
    return f"{made}\n\n{_lines_of(*definitions, imports=imports)}"


def _lines_of(*definitions: Sequence[str], imports: Sequence[str] = ()) -> str:
    lines = [line for lines in definitions for line in ("", "", "@triton.jit", *lines)]
    called = set(re.findall(r"(\w+)\(", "\n".join(lines)))
    math_called = sorted(called & _FUNCTIONS)
    imports = [
        *([f"from rsample.kernels.formula.devicemath import {', '.join(math_called)}"] if math_called else []),
        "from rsample.kernels.runtime.language import tl, triton",
        *imports,
    ]
    return "\n".join((*imports, *lines, ""))


def definition(
    name: str,
    reference: Callable[..., Any],
    arguments: Sequence[str],
    read: int | None = None,
    values: Callable[[torch.dtype], int] = lambda _: 1,
) -> list[str]:
    """The lines of one function.

    Args:
        values: how many numbers the first argument holds, by dtype.
    """
    single, wide = (_body(reference, arguments, read, dtype, values(dtype)) for dtype in (torch.float32, torch.float64))
    lines = [f"def {name}({', '.join((*arguments[:read], 'HARDWARE: tl.constexpr'))}):"]
    if single == wide:
        return [*lines, *(f"    {line}" for line in single)]
    lines += [
        f"    if {_first(arguments, values(torch.float64))}.dtype == tl.float64:",
        *(f"        {line}" for line in wide),
    ]
    return [*lines, "    else:", *(f"        {line}" for line in single)]


def _written(name: str, text: str) -> Path:
    """The file that holds a text, whole."""
    data = text.encode()
    kept = cache.folder()
    try:
        folder = Path(_temporary().name) if kept is None else kept / "triton"
        return _placed(folder, name, data)
    except OSError:
        return _placed(Path(_temporary().name), name, data)


def _placed(folder: Path, name: str, data: bytes) -> Path:
    file = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}.py"
    if not file.exists() or file.read_bytes() != data:
        cache.write(file, data)
    return file


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory:
    """A folder for the life of the process, where nothing can be kept."""
    return tempfile.TemporaryDirectory(prefix="rsample-")


def _first(arguments: Sequence[str], values: int) -> str:
    """The noise of an element, or its first number."""
    return arguments[0] if values == 1 else f"{arguments[0]}[0]"


def _body(
    reference: Callable[..., Any], arguments: Sequence[str], read: int | None, dtype: torch.dtype, values: int
) -> list[str]:
    """The statements of a function for one dtype."""
    several = False

    def noted(*symbols: Any) -> Any:
        nonlocal several
        results = reference(*symbols)
        several = isinstance(results, tuple)
        return results

    function = flattened(traced(noted, len(arguments) - 1, dtype, values=values))
    if dtype == torch.float32:
        function = in_base_2(function)
    function = fused(unshielded(simplified(function)))
    first = _first(arguments, values)
    names: dict[int, str] = {}
    lines = []

    def operand(value: int | float, literal: bool) -> str:
        if isinstance(value, int):
            return names[value]
        return _literal(value) if literal else f"tl.full((), {_literal(value)}, {first}.dtype)"

    for i in function.used():
        name, operands = function.steps[i]
        if name == "noise":
            names[i] = first if values == 1 else f"{arguments[0]}[{int(operands[0])}]"
        elif name == "input":
            at = 1 + int(operands[0])
            if read is not None and at >= read:
                raise NotImplementedError(f"{arguments[at]} is read")
            names[i] = arguments[at]
        elif name == "constant":
            names[i] = f"x{i}"
            lines.append(f"x{i} = tl.full({first}.shape, {_literal(operands[0])}, {first}.dtype)")
        else:
            names[i] = f"x{i}"
            lines.append(f"x{i} = {_expression(name, operands, operand, dtype=f'{first}.dtype')}")
    returned = [operand(r, False) for r in function.results]
    lines.append(f"return ({', '.join(returned)}{',' * (len(returned) == 1)})" if several else f"return {returned[0]}")
    return lines


def _expression(
    name: str, operands: Sequence[int | float], operand: Callable[[int | float, bool], str], dtype: str
) -> str:
    text = OPERATIONS[name].device
    if text is None:
        raise NotImplementedError(f"{name} has no Triton translation")
    if text.startswith("{} "):
        # Triton gives a number beside an operator the dtype of what it stands beside.
        return text.format(*(operand(x, True) for x in operands))
    # In calls it is float32 there: of use beside a tensor, but not in its place.
    beside = [isinstance(x, int) for x in operands[name == "where" :]]
    values = [operand(x, any(beside) and name != "div" and _is_single(x)) for x in operands]
    return text.format(*values, dtype=dtype)


def _is_single(value: int | float) -> bool:
    """Whether a number is one of float32's normal numbers."""
    if value == 0 or not math.isfinite(value):
        return True
    return 2.0**-126 <= abs(value) < 2.0**128 and struct.unpack("f", struct.pack("f", value))[0] == value


def _literal(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'float("{value}")'


def in_base_2(function: Function) -> Function:
    """The same with logarithms as the hardware has them, times a constant, which goes into a sum with its product."""
    steps: list[Operation] = []
    places: list[int] = []
    for name, operands in function.steps:
        if name not in ("noise", "input", "constant"):
            operands = tuple(places[x] if isinstance(x, int) else x for x in operands)
        if name == "log":
            steps.append(Operation("log2", operands))
            name, operands = "mul", (len(steps) - 1, math.log(2))
        steps.append(Operation(name, operands))
        places.append(len(steps) - 1)
    return function._replace(steps=steps, results=[places[r] if isinstance(r, int) else r for r in function.results])


def simplified(function: Function) -> Function:
    """The same with steps in place of some that a GPU has a shorter way for."""
    steps = list(with_cotangents(function).steps)
    for i, (name, operands) in enumerate(steps):
        shorter = _shorter(steps, name, operands)
        if shorter is not None:
            steps[i] = shorter
    return function._replace(steps=steps)


def _shorter(steps: Sequence[Operation], name: str, operands: Sequence[int | float]) -> Operation | None:
    def step(operand: int | float) -> Operation:
        return steps[operand] if isinstance(operand, int) else Operation("constant", (operand,))

    if name == "div" and isinstance(operands[1], float):
        return Operation("mul", (operands[0], 1 / operands[1]))
    if name == "clamp":
        x, low, high = operands
        if high == math.inf:
            return Operation("maximum", (x, low))
        if low == -math.inf:
            return Operation("minimum", (x, high))
    if name == "where":
        mask, x, y = operands
        # Texts are compared, as the number 1.0 equals that of a step.
        if repr((x, y)) == "(1.0, 0.0)":
            return Operation("indicator", (mask,))
        comparison = step(mask)
        if repr(comparison.operands) == repr((x, y)) and comparison.name in ("lt", "le", "gt", "ge"):
            return Operation("minimum" if comparison.name in ("lt", "le") else "maximum", (x, y))
    if name == "reciprocal":
        return Operation("div", (1.0, operands[0]))
    return None


def unshielded(function: Function) -> Function:
    """The same without what gives a formula harmless arguments where another one is chosen.

    Derivatives need it, which are taken of the torch code.
    """
    steps = list(function.steps)
    places: list[int | float] = list(range(len(steps)))
    for i, met in enumerate(conditions(function)):
        name, operands = steps[i]
        if name in ("noise", "input", "constant"):
            continue
        operands = tuple(places[x] if isinstance(x, int) else x for x in operands)
        steps[i] = Operation(name, operands)
        for mask, holds in met or ():
            chosen: int | float | None = None
            if name == "where" and operands[0] == places[mask]:
                chosen = operands[1 if holds else 2]
            elif name in ("maximum", "minimum") and _within(steps[mask], holds, name, *operands):
                chosen = operands[0]
            if isinstance(chosen, int):
                places[i] = chosen
    return function._replace(steps=steps, results=[places[r] if isinstance(r, int) else r for r in function.results])


def _within(comparison: Operation, holds: bool, name: str, x: int | float, bound: int | float) -> bool:
    """Whether a comparison with x that holds, or does not, says that the maximum or minimum of x and its bound is x."""
    if comparison.name not in ("lt", "le", "gt", "ge") or comparison.operands[0] != x:
        return False
    limit = comparison.operands[1]
    if isinstance(bound, int) or isinstance(limit, int):
        return False
    less = (comparison.name in ("lt", "le")) == holds
    return (name == "minimum" and limit <= bound) if less else (name == "maximum" and limit >= bound)


def fused(function: Function) -> Function:
    """The same with one operation in place of a product and a sum, where only sums read the product."""
    steps = list(function.steps)
    used = function.used()
    kept = {r for r in function.results if isinstance(r, int)}
    for i in used:
        if steps[i].name not in ("add", "sub", "noise", "input", "constant"):
            kept.update(x for x in steps[i].operands if isinstance(x, int))

    def product(operand: int | float) -> tuple[int | float, int | float] | None:
        if isinstance(operand, float) or operand in kept or steps[operand].name != "mul":
            return None
        x, y = steps[operand].operands
        return (x, y) if isinstance(x, int) else (y, x)

    for i in used:
        name, operands = steps[i]
        if name == "addcmul":
            x, y, z = operands
            steps[i] = Operation("fma", (y, z, x) if isinstance(y, int) else (z, y, x))
        elif name in ("add", "sub"):
            x, y = operands
            first, second = product(x), product(y)
            if first is not None:
                steps[i] = _difference(*first, y) if name == "sub" else Operation("fma", (*first, y))
            elif second is not None:
                steps[i] = _negative_product(*second, x) if name == "sub" else Operation("fma", (*second, x))
    return function._replace(steps=steps)


def _difference(x: int | float, y: int | float, z: int | float) -> Operation:
    """x y - z."""
    return Operation("fma", (x, y, -z)) if isinstance(z, float) else Operation("fms", (x, y, z))


def _negative_product(x: int | float, y: int | float, z: int | float) -> Operation:
    """z - x y."""
    return Operation("fma", (x, -y, z)) if isinstance(y, float) else Operation("fnma", (x, y, z))
