"""The gradient of Dirichlet draws on the CPU, compiled: `dirichlet.h`, built for a dtype at first use.

As a function of the logarithms of the gamma numbers. Built and kept as the elementwise loops are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...formula.cpp_code import printed
from ...formula.trace import traced
from ...runtime.hugepages import empty
from . import cpp

# What gives (gradient of a share, concentration, the others' sum, log(share), log(1 - share)) the concentration's.
ShareGradient = Callable[..., Tensor]


class DirichletGradient:
    """The loop of each dtype; of float32 and float64."""

    def __init__(self, of_share: ShareGradient) -> None:
        self._of_share = of_share
        self._functions: dict[torch.dtype, Any] = {}  # None: could not be built

    def __call__(self, grad: Tensor, concentration: Tensor, logs: Tensor) -> Tensor | None:
        """The gradient of the concentration, of the shape of all three; None where nothing can be built."""
        function = self.function(logs.dtype)
        if function is None:
            return None
        grad, concentration = grad.contiguous(), concentration.contiguous()
        k = logs.shape[-1]
        result = empty(logs.shape, logs.dtype)
        given = (t.data_ptr() for t in (grad, concentration, logs))
        function(*given, logs.numel() // k, k, result.data_ptr())
        return result

    def function(self, dtype: torch.dtype) -> Any:
        """The loop, built on first use; None where that fails, which is tried once."""
        return cpp.once(self._functions, dtype, self._build, dtype)

    def built(self, dtype: torch.dtype) -> Any:
        """The loop if it has been built."""
        return self._functions.get(dtype)

    def _build(self, dtype: torch.dtype) -> Any:
        library = cpp.build(self._source(dtype), "draws")
        if library is None:
            return None
        library.gradient.restype = None
        library.gradient.argtypes = (*(ctypes.c_void_p,) * 3, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        return library.gradient

    def _source(self, dtype: torch.dtype) -> str:
        headers = cpp.headers("elementwise.h", "gradients.h", "dirichlet.h")
        share = traced(lambda _, *operands: self._of_share(*operands), 5, dtype)
        cpp_type = cpp.TYPES[dtype]
        return f"""{headers}{printed("of_share", share)}
extern "C" void gradient(const {cpp_type}* grads, const {cpp_type}* concentrations, const {cpp_type}* logs,
                         std::int64_t rows, std::int64_t k, {cpp_type}* results) {{
  rsample::dirichlet_gradient(of_share{{}}, grads, concentrations, logs, rows, k, results);
}}
"""
