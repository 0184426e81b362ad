"""The CPU backend: one C++ loop per law, compiled at first use; for small draws, one interpreter of all laws.

`noise.h` makes noise tile by tile in the first-level cache, `elementwise.h` runs a loop over the tiles, and
`cpp_code.py` turns a law's torch reference into the C++ that the loop applies. A library serves every size, layout and
key of one (law, compute dtype); :mod:`engines.cpu.cpp` builds and keeps it. The loop reads parameters that are
dense or one number; others are laid out a chunk at a time. Draws of fewer than `INTERPRETED_NUMEL` numbers have the
same bits from :mod:`engines.cpu.interpreter`, which is built once for all laws. Where nothing can be built (no
compiler), one warning is given and the reference runs instead, for the life of the process.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...formula.cpp_code import printed
from ...formula.trace import Function, traced
from ...laws.law import Law
from ...laws.rejection.cpp_code import rejection_laws
from ...laws.rejection.noise import LoopNoise
from ...laws.support import Support
from ...runtime.backend import CPU
from ...runtime.hugepages import empty
from ...stream.noise import SIGNIFICAND_BITS, compute_dtype, singles
from ...stream.window import Window
from ..eager import elementwise as reference
from ..outputs import Outputs
from ..outputs import Run as Draw
from . import cpp, interpreter
from .chunks import DENSE, UNUSED, Gradient, Input, chunks
from .interpreter import Run

_MASK64 = 2**64 - 1


# Below it a law is interpreted: compiling it would cost more than it saves.
INTERPRETED_NUMEL = 2**10


class Functions(NamedTuple):
    """What runs draws of a law, and their gradients if it has some, given what `called` of elementwise.h takes."""

    forward: Run
    backward: Run | None


_libraries: dict[tuple[str, torch.dtype], Functions | None] = {}  # None: could not be built
_interpreted: dict[tuple[str, torch.dtype], Functions | None] = {}


def available(law: Law, dtype: torch.dtype) -> bool:
    """Whether draws of `law` and `dtype` run compiled here; builds the library on first use."""
    return _library(law, compute_dtype(dtype)) is not None


def forward(
    law: Law,
    key: Tensor,
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> tuple[Tensor, ...]:
    """What a draw of `shape` and `dtype` gives; as :func:`engines.eager.elementwise.forward`.

    Args:
        key: (2,) CPU tensor, the bits of (seed, offset in blocks) as uint64 or int64.
        params: CPU tensors of any floating dtype and strides, broadcastable to `shape`.
    """
    compute = compute_dtype(dtype)
    shape = torch.Size(shape)
    run = functions(law, compute, shape.numel())
    if run is None:
        return reference.forward(law, key.view(torch.uint64), params, shape, dtype, window)
    draw = plan(law, params, shape, dtype, window)
    if draw is not None:
        drawn = draw((key,), params)
        return drawn if isinstance(drawn, tuple) else (drawn,)
    loop = _Loop(run.forward, key, dtype, _walk(window, law, shape, dtype))
    outputs = tuple([empty(shape, dtype) for _ in range(law.outputs)])
    inputs = [Input(p, shape, compute) for p in (*params, *bounds(law.support, dtype))]
    flats = [out.view(-1) for out in outputs]
    for chunk in chunks(shape):
        parts = [flat[chunk.start : chunk.stop] for flat in flats]
        targets = parts if dtype == compute else [empty(part.shape, compute) for part in parts]
        read = [(i.chunk(chunk, compute), i.dense) for i in inputs]
        loop(read, [(target, DENSE) for target in targets], chunk.start, chunk.stop - chunk.start)
        if dtype != compute:
            for part, target in zip(parts, targets, strict=True):
                part.copy_(target)
    return outputs


def plan(
    law: Law, params: Sequence[Tensor], shape: torch.Size, dtype: torch.dtype, window: Window | None = None
) -> Draw | None:
    """What `forward` does for parameters of one kind that the loop reads as they are."""
    compute = compute_dtype(dtype)
    run = functions(law, compute, shape.numel())
    fields = _readable(params, shape, compute) if dtype == compute else None
    if fields is None or run is None:
        return None
    dense = fields[1::2]
    like = dense.index(1) if 1 in dense else None
    bits, numel, outputs = SIGNIFICAND_BITS[dtype], shape.numel(), law.outputs
    bounds = _bound_fields(law.support, dtype) if law.support is not None else ()
    walk = _walk(window, law, shape, dtype) or []
    function, pack = run.forward, _packer(len(fields) + len(bounds) + 2 * outputs + len(walk))

    def draw(key: Sequence[Tensor], params: Sequence[Tensor]) -> Outputs:
        seed, offset = key[0].tolist()
        read = [field for p, each in zip(params, dense, strict=True) for field in (p.data_ptr(), each)]
        outs = [empty(shape, dtype, None if like is None else params[like]) for _ in range(outputs)]
        written = [field for out in outs for field in (out.data_ptr(), DENSE)]
        function(pack(seed & _MASK64, offset & _MASK64, bits, 0, numel, len(walk), *read, *bounds, *written, *walk))
        return tuple(outs) if outputs > 1 else outs[0]

    return draw


def _readable(params: Sequence[Tensor], shape: torch.Size, compute: torch.dtype) -> list[int] | None:
    """The fields of the loop's inputs where it can read every parameter as it is: the way of most small draws."""
    fields: list[int] = []
    for p in params:
        if p.dtype != compute:
            return None
        if p.ndim == 0:
            fields += (p.data_ptr(), 0)
        elif p.shape == shape and p.is_contiguous():
            fields += (p.data_ptr(), 1)
        else:
            return None
    return fields


@functools.cache
def bounds(support: Support | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The inputs `lower`, `upper` and `step` of a law with a support, see `Support.bounded`."""
    if support is None:
        return ()
    numbers = (*support.limits(dtype), support.step(dtype))
    return tuple(torch.tensor(x, dtype=compute_dtype(dtype), device=CPU) for x in numbers)


@functools.cache
def _bound_fields(support: Support | None, dtype: torch.dtype) -> tuple[int, ...]:
    return tuple(field for t in bounds(support, dtype) for field in (t.data_ptr(), 0))


def backward(
    law: Law,
    key: Tensor,
    given: Sequence[Tensor],
    params: Sequence[Tensor],
    needs: Sequence[bool],
    window: Window | None = None,
) -> list[Tensor]:
    """The gradients of the parameters with `needs`, in order; as :func:`engines.eager.elementwise.backward`.

    Args:
        given: the gradients of outputs, of the sample's shape and dtype and of any strides.
    """
    grad = given[0]
    compute = compute_dtype(grad.dtype)
    run = functions(law, compute, grad.numel())
    if run is None or run.backward is None:
        return reference.backward(law, key.view(torch.uint64), given, params, needs, window)
    shape = grad.shape
    loop = _Loop(run.backward, key, grad.dtype, _walk(window, law, shape, grad.dtype))
    fields = _readable((*given, *params), shape, compute) if grad.dtype == compute else None
    if fields is not None and all(p.shape == shape for p in params):
        gradients = [empty(shape, compute) if needed else None for needed in needs]
        written = [field for g in gradients for field in ((0, UNUSED) if g is None else (g.data_ptr(), DENSE))]
        loop.run(fields, written, 0, grad.numel())
        return [g for g in gradients if g is not None]
    inputs = [Input(t, shape, compute) for t in (*given, *params)]
    outputs = [Gradient(p, shape, compute, needed) for p, needed in zip(params, needs, strict=True)]
    if all(i.ready for i in inputs) and all(o.ready for o in outputs):
        loop([(i.tensor, i.dense) for i in inputs], [(o.result, o.mode) for o in outputs], 0, shape.numel())
    else:
        for chunk in chunks(shape):
            targets = [o.target(chunk) for o in outputs]
            results = [(target, o.mode) for target, o in zip(targets, outputs, strict=True)]
            loop([(i.chunk(chunk, compute), i.dense) for i in inputs], results, chunk.start, chunk.stop - chunk.start)
            for output, target in zip(outputs, targets, strict=True):
                output.add(chunk, target)
    return [o.finish() for o, needed in zip(outputs, needs, strict=True) if needed]


# ------------------------------------------------------------------------------------------------------------ building


def functions(law: Law, compute: torch.dtype, numel: int) -> Functions | None:
    """What runs a draw of so many numbers, or None where nothing can be built, which is tried once."""
    kind = (law.name, compute)
    if numel < INTERPRETED_NUMEL and kind not in _libraries:
        interpreted: Functions | None = cpp.once(_interpreted, kind, _interpret, law, compute)
        if interpreted is not None:
            return interpreted
    return _library(law, compute)


def _library(law: Law, compute: torch.dtype) -> Functions | None:
    """The library of `law`, or None where it cannot be built, which is tried once."""
    library: Functions | None = cpp.once(_libraries, (law.name, compute), _build, law, compute)
    return library


def _interpret(law: Law, compute: torch.dtype) -> Functions | None:
    try:
        functions = _traced(law, compute)
    except NotImplementedError:  # which _build tells of
        return None
    run = {
        name: interpreter.interpreted(function, law.noise, compute, _parameters_at(law, name))
        for name, function in functions.items()
    }
    if not all(run.values()):
        return None
    return Functions(run["forward"], run.get("backward"))  # type: ignore[arg-type]


def _build(law: Law, compute: torch.dtype) -> Functions | None:
    if not cpp.compiler_works():
        return None
    try:
        source = _source(law, compute)
    except NotImplementedError as error:
        cpp.warn(f"the law {law.name}", error)
        return None
    library = cpp.build(source, "draws")
    if library is None:
        return None
    for function in (library.forward, library.backward) if law.cotangents else (library.forward,):
        function.restype = None
        function.argtypes = (ctypes.c_char_p,)
    return Functions(library.forward, library.backward if law.cotangents else None)


def _traced(law: Law, compute: torch.dtype) -> dict[str, Function]:
    """The steps of a draw, and of its gradients where it has some."""
    values = law.noise.values
    support, bounds = law.support, 0 if law.support is None else 3

    def draw(noise: Any, *inputs: Any) -> tuple[Any, ...]:
        params = inputs[: len(law.parameters)]
        sample, *rest = law.draw(noise, *params)
        if support is not None:
            sample = support.bounded(sample, params, *inputs[len(params) :])
        return (sample, *rest)

    functions = {"forward": traced(draw, len(law.parameters) + bounds, compute, values=values)}
    if law.cotangents:
        inputs = len(law.cotangents) + len(law.parameters)
        functions["backward"] = traced(law.gradients, inputs, compute, values=values)
    return functions


def _parameters_at(law: Law, name: str) -> int:
    """The number of the input of `forward` or `backward` that is the law's first parameter."""
    return len(law.cotangents) if name == "backward" else 0


def _source(law: Law, compute: torch.dtype) -> str:
    loops = ("loops.h",) if isinstance(law.noise, LoopNoise) else ()
    parts = [cpp.headers(*loops, "elementwise.h")]
    noises = singles(law.noise)
    if isinstance(law.noise, LoopNoise) and law.noise.parts:
        parts.append(rejection_laws([law.noise], compute))
    else:
        for noise in noises:
            if f"struct {noise.name} {{" not in parts[0]:
                raise NotImplementedError(f"there is no noise {noise.name} in C++")
    cpp_noise = ", ".join(f"rsample::{noise.name}" for noise in noises)
    if len(noises) > 1:
        cpp_noise = f"rsample::Two<{cpp_noise}>"
    for name, function in _traced(law, compute).items():
        cpp_type = cpp.TYPES[compute]
        parts.append(printed(f"{name}_formula", function, _parameters_at(law, name)))
        parts.append(f"""
extern "C" void {name}(const std::int64_t* call) {{
  rsample::called<{cpp_type}>({name}_formula{{}}, {cpp_noise}{{}}, call);
}}
""")
    return "".join(parts)


# ------------------------------------------------------------------------------------------------------------- running


class _Loop:
    """A library's function with the arguments that do not change from chunk to chunk."""

    __slots__ = ("bits", "function", "offset", "seed", "window")

    def __init__(self, function: Any, key: Tensor, dtype: torch.dtype, window: Sequence[int] | None = None):
        self.function = function
        self.window = () if window is None else window
        seed, offset = key.tolist()
        self.seed, self.offset = seed & _MASK64, offset & _MASK64
        self.bits = SIGNIFICAND_BITS[dtype]

    def __call__(
        self,
        inputs: Sequence[tuple[Tensor, bool]],
        outputs: Sequence[tuple[Tensor | None, int]],
        first: int,
        numel: int,
    ) -> None:
        """Elements first .. first + numel of the draw."""
        input_fields = [field for t, dense in inputs for field in (t.data_ptr(), dense)]
        output_fields = [field for t, mode in outputs for field in (0 if t is None else t.data_ptr(), mode)]
        self.run(input_fields, output_fields, first, numel)

    def run(self, inputs: list[int], outputs: list[int], first: int, numel: int) -> None:
        """The same from the fields of the structs Input and Output: a pointer and a 64-bit integer each."""
        window = self.window
        pack = _packer(len(inputs) + len(outputs) + len(window))
        # One argument: each costs ctypes a tenth of a microsecond.
        self.function(pack(self.seed, self.offset, self.bits, first, numel, len(window), *inputs, *outputs, *window))


@functools.cache
def _packer(length: int) -> Callable[..., bytes]:
    """What lays out the arguments of `called` in elementwise.h, of which so many are arrays."""
    return struct.Struct(f"2Q{4 + length}q").pack


def _walk(window: Window | None, law: Law, shape: torch.Size, dtype: torch.dtype) -> list[int] | None:
    """A window as elementwise.h takes it: the number of its dimensions, their sizes and their strides, in blocks."""
    if window is None:
        return None
    sizes, strides = window.runs(shape, law.noise.elements_per_block(dtype))
    return [len(sizes), *sizes, *strides]
