"""Laws as C++: loops over numbers, which a compiler makes into loops over vectors, for those of loops.h."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from ...formula.elementary import MASKS, OPERATIONS
from ...formula.trace import Function, Operation, traced, with_cotangents
from ...stream.noise import elements_per_block
from .law import RejectionLaw
from .noise import LoopNoise

_TYPES = {torch.float32: "float", torch.float64: "double"}


def rejection_laws(noises: Iterable[LoopNoise], dtype: torch.dtype) -> str:
    """The noises that are made of laws, as structs for the loop of elementwise.h."""
    structs: dict[str, str] = {}  # by name, as noises share laws
    for noise in noises:
        if noise.parts:
            structs[noise.name] = _noise(noise, dtype, structs)
    text = "".join(structs.values())
    return f"\nnamespace rsample {{\n\nusing T = {_TYPES[dtype]};\n{text}\n}}  // namespace rsample\n"


def _noise(noise: LoopNoise, dtype: torch.dtype, structs: dict[str, str]) -> str:
    """The struct of a noise; adds those that it reads to `structs`."""
    pointers = [f"parameters[{i}]" for i in range(noise.inputs)]
    results: list[str] = []
    lines: list[str] = []
    for number, part in enumerate(noise.parts):
        name = f"{noise.name}_parameters_{number}"
        structs[f"{part.law.name}_law"], count = _law(part.law, dtype)

        def parameters(*values: Any, part: Any = part) -> Any:
            return part.parameters(values[noise.inputs :], *values[: noise.inputs])

        structs[name] = _struct(name, _traced(parameters, len(pointers) + len(results), dtype))
        own = [f"result({i})" for i in range(len(results), len(results) + count)]
        lines += [
            f"const T* const in{number}[] = {{{', '.join([*pointers, *results])}}};",
            f"T* const out{number}[] = {{{', '.join(own)}}};",
            f"part<{part.law.name}_law, {name}>(seed, blocks, in{number}, {part.stream}, n, out{number});",
        ]
        results += own
    others = len(results) - noise.values
    body = "\n    ".join(lines)
    return f"""
struct {noise.name} {{
  static constexpr int VALUES = {noise.values};
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {{
    T before[{others} + 1][TILE<T>];
    const auto result = [&](int i) {{ return i < {others} ? before[i] : noise + (i - {others}) * TILE<T>; }};
    {body}
  }}
}};
"""


@functools.cache
def _law(law: RejectionLaw, dtype: torch.dtype) -> tuple[str, int]:
    """The structs of a law and of its functions, and how many results it has."""
    exponentials = elements_per_block(dtype)
    setup = _traced(law.setup, law.parameters, dtype)
    given = len(setup.results)
    functions = {"setup": setup, "attempt": _traced(law.attempt, 2 + given, dtype)}
    if law.finish is not None:
        functions["finish"] = _traced(law.finish, 1 + given, dtype)
    if law.arrivals is not None:
        functions["few"] = _traced(law.arrivals.few, given, dtype)
        step = law.arrivals.step
        functions["step"] = _traced(
            lambda *x: step(x[:exponentials], *x[exponentials:]), exponentials + 2 + given, dtype
        )
    if law.once is not None:
        functions["some"] = _traced(law.once.some, given, dtype)
        functions["once"] = _traced(law.once.finish, 2 + given, dtype)
    names = {what: f"{law.name}_{what}" for what in functions}
    texts = [_struct(names[w], f, exponentials if w == "step" else 0) for w, f in functions.items()]
    uses = "\n".join(f"  using {what} = {name};" for what, name in names.items())
    candidates = f"  using candidates = {law.candidates.__name__};"
    texts.append(f"\nstruct {law.name}_law {{\n{candidates}\n{uses}\n}};\n")
    return "".join(texts), len(functions["finish"].results) if law.finish is not None else 1


def _traced(function: Callable[..., Any], inputs: int, dtype: torch.dtype) -> Function:
    return traced(lambda _, *values: function(*values), inputs, dtype)


def _struct(name: str, function: Function, exponentials: int = 0) -> str:
    """A function of arrays, for the elements of a tile.

    Its results that are numbers go to `out`, but those that are inputs as they stand; one that is a mask to `mask`.

    Args:
        exponentials: how many inputs are numbers of one array, next to each other for each element.
    """
    function = with_cotangents(function)
    steps = function.steps
    reads = [int(steps[i].operands[0]) for i in function.used() if steps[i].name == "input"]
    passed = [_input(steps, result) for result in function.results]
    lines, stores, number = [], [], 0
    for i in function.used():
        kind = "bool" if steps[i].name in MASKS else "T"
        lines.append(f"const {kind} x{i} = {_expression(steps, i, exponentials)};")
    for result, own in zip(function.results, passed, strict=True):
        if isinstance(result, int) and steps[result].name in MASKS:
            stores.append(f"mask[i] = x{result};")
            continue
        if own < 0:
            stores.append(f"out{number}[i] = {_operand(result)};")
        number += 1
    loop = "\n      ".join((*lines, *stores))
    inputs = function.inputs - max(exponentials - 1, 0)
    reads = sorted({_array(i, exponentials) for i in reads})
    arrays = [f"const T* in{i}" for i in range(inputs)], [f"T* out{i}" for i in range(number)]
    return f"""
struct {name} {{
  static constexpr int INPUTS = {inputs}, OUTPUTS = {number};
  static constexpr bool reads(int i) {{ return {" || ".join(f"i == {i}" for i in reads)}; }}
  // The input that a result is, or -1.
  static constexpr int passed(int i) {{
    constexpr int inputs[] = {{{", ".join(map(str, (*passed, -1)))}}};
    return inputs[i];
  }}
  static void apply({", ".join((*arrays[0], "int n", *arrays[1], "int32_t* mask"))}) {{
    for (int i = 0; i < n; ++i) {{
      {loop}
    }}
  }}
}};
"""


def _array(i: int, exponentials: int) -> int:
    """The number of the array that holds input i."""
    return max(i - max(exponentials - 1, 0), 0)


def _input(steps: Sequence[Operation], result: int | float) -> int:
    return int(steps[result].operands[0]) if isinstance(result, int) and steps[result].name == "input" else -1


def _expression(steps: Sequence[Operation], i: int, exponentials: int) -> str:
    name, operands = steps[i]
    if name == "input":
        at = f"{exponentials} * i + {operands[0]}" if int(operands[0]) < exponentials else "i"
        return f"in{_array(int(operands[0]), exponentials)}[{at}]"
    if name == "constant":
        return _operand(operands[0])
    text = OPERATIONS[name].number
    if text is None:
        raise NotImplementedError(f"{name} has no C++ translation on numbers")
    return text.format(*map(_operand, operands))


def _operand(operand: int | float) -> str:
    if isinstance(operand, int):
        return f"x{operand}"
    if math.isfinite(operand):
        return f"T({operand.hex()})"
    limit = "quiet_NaN" if math.isnan(operand) else "infinity"
    return f"{'-' if operand < 0 else ''}std::numeric_limits<T>::{limit}()"
