"""Small CPU draws of every law by one library: it applies a law's operations one after the other to tiles of elements.

Compiling a loop for a law takes seconds, which a program that draws few numbers does not get back. The interpreter is
compiled once for all of them, and gives the bits of the loops; see interpreter.h.
"""

from __future__ import annotations

import ctypes
import functools
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ...formula.elementary import VECTOR
from ...formula.schedule import blocks
from ...formula.trace import Function, flattened
from ...laws import known_laws
from ...laws.rejection.cpp_code import rejection_laws
from ...laws.rejection.noise import LoopNoise
from ...stream.noise import Noise, NoisePair, elements_per_block, singles
from . import cpp

_CODES = {name: code for code, name in enumerate(VECTOR)}
# Steps that leave out so many others unless a mask holds in some lane, or does not hold in one; as in interpreter.h.
_UNLESS_ANY, _UNLESS_NOT_ALL = -1, -2
_LOADED = ("noise", "input", "constant")

TILE_BLOCKS = 32  # Philox blocks in a tile, as in noise.h
_MOST = (4, 12, 4, 256, 128)  # values of the noise, inputs, outputs, constants and registers, as in interpreter.h

# A function of a library, called with the arguments that `called` of elementwise.h takes.
Run = Callable[[bytes], None]


class Interpreted(NamedTuple):
    """A program, and the function of a library that runs it."""

    run: Any
    program: int

    def __call__(self, call: bytes) -> None:
        self.run(self.program, call)


def interpreted(
    function: Function, noise: Noise | NoisePair | LoopNoise, dtype: torch.dtype, parameters_at: int = 0
) -> Interpreted | None:
    """What runs a function of a law over a draw; None where it has no room for it or nothing can be built.

    Args:
        noise: that of the law.
        dtype: float32 or float64.
        parameters_at: the number of the input that is the law's first parameter, for a noise that loops.
    """
    loops = isinstance(noise, LoopNoise)
    known, names = _noises(loops), [each.name for each in singles(noise)]
    if not set(names).issubset(known):
        return None
    first, second = [*(known.index(name) for name in names), -1][:2]
    program = _assembled(function, dtype, parameters_at, first, second)
    library = _library(dtype, loops)
    if library is None or program is None:
        return None
    return Interpreted(library.draw, program.buffer_info()[0])


def available(dtype: torch.dtype) -> bool:
    """Whether there are interpreters of a dtype; builds them on first use."""
    return all(_library(dtype, loops) is not None for loops in (False, True))


@functools.cache
def _loops() -> list[LoopNoise]:
    """The noises of all laws that are drawn by rejection."""
    noises = {law.noise.name: law.noise for law in known_laws().values() if isinstance(law.noise, LoopNoise)}
    return [noise for noise in noises.values() if noise.parts]


@functools.cache
def _noises(loops: bool) -> list[str]:
    """The names of the noises that a library has, in the order of their numbers."""
    if loops:
        return ["nothing", *(noise.name for noise in _loops())]
    return ["uniform", "native_uniform", "centered", "exponential", "normal"]


@functools.cache
def _library(dtype: torch.dtype, loops: bool) -> Any:
    """The interpreter of laws whose noise loops, or of the others."""
    if not cpp.compiler_works():
        return None
    library = cpp.build(_source(dtype, loops), "small draws", dtype)
    if library is not None:
        library.draw.restype, library.draw.argtypes = None, (ctypes.c_void_p, ctypes.c_char_p)
    return library


def _source(dtype: torch.dtype, loops: bool) -> str:
    kind = "AnyLoopNoise" if loops else "AnyNoise"
    fills = ", ".join(f"rsample::{noise}::fill" for noise in _noises(loops))
    second = "" if loops else ", program->second < 0 ? nullptr : fills[program->second]"
    parts = [cpp.headers(*(("loops.h",) if loops else ()), "elementwise.h", "interpreter.h")]
    if loops:
        parts.append(rejection_laws(_loops(), dtype))
    functions = [f"[](V x, V y, V z) {{ return V({expression.format(*'xyz')}); }}" for expression in VECTOR.values()]
    cases = "".join(
        f"    case {code}: each(to, a, b, c, count, {function}); break;\n" for code, function in enumerate(functions)
    )
    parts.append(f"""
namespace rsample {{

using T = {cpp.TYPES[dtype]};
using V = rsample::Vector<T>;

template <>
void operate<T>(int operation, T* to, const T* a, const T* b, const T* c, int count) {{
  switch (operation) {{
{cases}  }}
}}

}}  // namespace rsample

extern "C" void draw(const rsample::Program* program, const std::int64_t* call) {{
  using T = rsample::T;
  static constexpr decltype(rsample::{kind}<T>::fill) fills[] = {{{fills}}};
  const rsample::{kind}<T> noise{{fills[program->noise]{second}}};
  rsample::called<T>(rsample::Interpreted<T>{{*program}}, noise, call);
}}
""")
    return "".join(parts)


cpp.AHEAD += [functools.partial(_source, loops=loops) for loops in (False, True)]


def _assembled(
    function: Function, dtype: torch.dtype, parameters_at: int, noise: int, second: int
) -> array[int] | None:
    """The struct Program of interpreter.h; None where it has no room for the function."""
    function = flattened(function)
    steps = function.steps
    parts = [(where, [i for i in block if steps[i].name not in _LOADED]) for where, block in blocks(function)]
    place = {i: at for at, i in enumerate(i for _, block in parts for i in block)}
    used = [operand for step in function.steps if step.name not in ("noise", "input") for operand in step.operands]
    constants = {x.hex(): x for x in (*used, *function.results) if isinstance(x, float)}
    first_constant = function.values + function.inputs
    numbers = {name: first_constant + i for i, name in enumerate(constants)}
    first_register = first_constant + len(constants)
    last = {operand: at for i, at in place.items() for operand in steps[i].operands if isinstance(operand, int)}
    last |= {result: len(steps) for result in function.results if isinstance(result, int)}

    tiles: dict[int, int] = {}  # by step
    for i, step in enumerate(function.steps):
        if step.name in ("noise", "input"):
            tiles[i] = int(step.operands[0]) + (function.values if step.name == "input" else 0)
        elif step.name == "constant":
            tiles[i] = numbers[float(step.operands[0]).hex()]

    def tile(operand: int | float) -> int:
        return numbers[operand.hex()] if isinstance(operand, float) else tiles[operand]

    free: list[int] = []
    registers, code = 0, array("i")
    for where, block in parts:
        if where is not None and block:
            mask, holds = where
            code.extend((_UNLESS_ANY if holds else _UNLESS_NOT_ALL, 0, tile(mask), len(block), 0, 0))
        for i in block:
            operands = steps[i].operands
            read = [tile(operand) for operand in operands]
            # A step may write where it reads, element by element.
            ended = {operand for operand in operands if isinstance(operand, int) and last[operand] == place[i]}
            free += [tiles[operand] for operand in ended if tiles[operand] >= first_register]
            if not free:
                free.append(first_register + registers)
                registers += 1
            tiles[i] = free.pop()
            code.extend((_CODES[steps[i].name], tiles[i] - first_register, *read, *(0,) * (4 - len(read))))
    results = array("q", [tile(result) for result in function.results])
    needed = (function.values, function.inputs, len(results), len(constants), registers)
    if any(number > most for number, most in zip(needed, _MOST, strict=True)):
        return None
    size = TILE_BLOCKS * elements_per_block(dtype)
    values = array("f" if dtype == torch.float32 else "d", [x for x in constants.values() for _ in range(size)])
    pointed = (values, code, results)
    _KEPT.append(pointed)
    sizes = (*needed, parameters_at, len(code) // 6, noise, second)
    program = array("q", (*sizes, *(part.buffer_info()[0] for part in pointed)))
    _KEPT.append((program,))
    return program


# What programs point to. A process has some for each law.
_KEPT: list[tuple[array[Any], ...]] = []
