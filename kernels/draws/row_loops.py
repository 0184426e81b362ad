"""Loops over the rows of a draw on the CPU, for what distributions make of several draws.

Each is C++ of a header of its own, a template of the dtype, and is built by itself at first use, which takes a second.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..engines.cpu import cpp
from ..runtime.backend import backend_for
from .keys import watched
from .lean_function import wants_derivative
from .operators import are_plain


class RowLoops:
    """The functions of one header.

    Args:
        header: its path in this package. It follows row_loops.h.
        names: of function templates in it, whose arguments are pointers to numbers of the dtype, and integers.
        what: runs without compiled code where they cannot be built, for the warning.
    """

    def __init__(self, header: str, names: Sequence[str], what: str) -> None:
        self._header, self._names, self._what = header, names, what
        self._built: dict[torch.dtype, dict[str, Callable[[bytes], None]] | None] = {}
        cpp.AHEAD.append(self._source)

    def find(self, *tensors: Tensor) -> Callable[..., None] | None:
        """What runs a function on such tensors, `run(name, *numbers)`; None where that is left to torch operations.

        It is theirs where the draw is watched, a derivative may be asked for, the backend is not "compiled", or the
        tensors are not plain ones of one dtype, float32 or float64.
        """
        if not tensors[0].is_cpu or wants_derivative(tensors):
            return None
        return self.find_differentiable(*tensors)

    def find_differentiable(self, *tensors: Tensor) -> Callable[..., None] | None:
        """The same where derivatives of reverse mode may be asked for, which the caller computes."""
        first = tensors[0]
        dtype = first.dtype
        if dtype not in cpp.TYPES or not first.is_cpu or watched() or forward_ad._current_level >= 0:
            return None
        if not are_plain(tensors) or any(t.dtype != dtype or not t.is_cpu for t in tensors[1:]):
            return None
        if backend_for(first.device, first.numel(), tensors) != "compiled":
            return None
        functions = cpp.once(self._built, dtype, self._build, dtype)
        return None if functions is None else functools.partial(_run, functions)

    def _source(self, dtype: torch.dtype) -> str:
        cpp_type = cpp.TYPES[dtype]
        exported = "".join(
            f'extern "C" void {name}(const int64_t* call) {{ rsample::apply(rsample::{name}<{cpp_type}>, call); }}\n'
            for name in self._names
        )
        headers = ("standard.h", "vectors.h", "parallel.h", "row_loops.h", self._header)
        return "".join(map(cpp.header, headers)) + exported

    def _build(self, dtype: torch.dtype) -> dict[str, Callable[[bytes], None]] | None:
        library = cpp.build(self._source(dtype), self._what, dtype)
        if library is None:
            return None
        functions: dict[str, Any] = {name: getattr(library, name) for name in self._names}
        for function in functions.values():
            function.restype, function.argtypes = None, (ctypes.c_char_p,)
        return functions


def _run(functions: dict[str, Callable[[bytes], None]], name: str, *numbers: int) -> None:
    functions[name](struct.pack(f"{len(numbers)}q", *numbers))
