"""The C++ of draws that are a matrix product, built at first use."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from .. import cpp


@functools.cache
def library() -> Any:
    """What noise.h and product.h build, or None where they cannot be built, which is tried once."""
    if not cpp.compiler_works():
        return None
    headers = ("elementary.h", "noise.h", "matrices/noise.h", "matrices/product.h")
    built = cpp.build("".join(cpp.header(name) for name in headers), "matrix draws")
    if built is not None:
        for function in (built.stream_normal_float, built.stream_normal_double):
            function.restype = None
            function.argtypes = (ctypes.c_void_p, ctypes.c_int64, *(ctypes.c_uint64,) * 2, ctypes.c_uint32)
        for function in (built.forward_float, built.forward_double, built.backward_float, built.backward_double):
            function.restype = None
            function.argtypes = (ctypes.c_void_p,)
    return built
