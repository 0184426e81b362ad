"""The C++ of draws that are a matrix product, built at first use: a library for each compute dtype and pass."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch

from . import cpp


def available(compute: torch.dtype) -> bool:
    """Whether draws and their gradients run compiled here; builds the libraries on first use."""
    return forward(compute) is not None and backward(compute) is not None


def forward(compute: torch.dtype) -> Any:
    """The library with `forward` of product_rows.h and `stream_normal` of noise.h, or None where it cannot be built."""
    return _library(compute, _forward_source)


def backward(compute: torch.dtype) -> Any:
    """The library with `backward` of product_gradient.h, or None where it cannot be built."""
    return _library(compute, _backward_source)


@functools.cache
def _library(compute: torch.dtype, source: Any) -> Any:
    if not cpp.compiler_works():
        return None
    built = cpp.build(source(compute), "matrix draws", compute)
    if built is not None and source is _forward_source:
        built.stream_normal.restype = built.forward.restype = None
        built.stream_normal.argtypes = (ctypes.c_void_p, ctypes.c_int64, *(ctypes.c_uint64,) * 2, ctypes.c_uint32)
        built.forward.argtypes = (ctypes.c_void_p,)
    elif built is not None:
        built.backward.restype, built.backward.argtypes = None, (ctypes.c_void_p,)
    return built


def _forward_source(compute: torch.dtype) -> str:
    T = cpp.TYPES[compute]
    ways = ("product_lanes.h", "product_columns.h", "product_rows.h")
    return f"""{cpp.headers("product_noise.h", "product.h", *ways)}
extern "C" void forward(const rsample::Forward<{T}>* f) {{ rsample::forward(*f); }}

extern "C" void stream_normal({T}* out, std::int64_t n, std::uint64_t seed, std::uint64_t offset,
                              std::uint32_t stream) {{
  rsample::stream_normal(out, n, seed, offset, stream);
}}
"""


def _backward_source(compute: torch.dtype) -> str:
    return f"""{cpp.headers("product_noise.h", "product.h", "product_gradient.h")}
extern "C" void backward(const rsample::Backward<{cpp.TYPES[compute]}>* f) {{ rsample::backward(*f); }}
"""


cpp.AHEAD.append(_forward_source)
cpp.GRADIENTS_AHEAD.append(_backward_source)
