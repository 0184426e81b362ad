"""Triton's language, or a stand-in where Triton is not installed.

Device functions stand beside their torch twins, so the modules that hold them must import on machines without
Triton (macOS, Windows). There `jit` leaves a function as it is; nothing calls it, because only the triton backend
launches kernels and :mod:`rsample.kernels.backend` refuses it when `HAS_TRITON` is false.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

try:
    import triton
    import triton.language as tl

    HAS_TRITON = True
except ImportError:
    HAS_TRITON = False

    class _Missing:
        """Answers `triton.jit` and attribute look-ups in annotations; launching anything is out of reach."""

        @staticmethod
        def jit(fn=None, **options):
            return fn if fn is not None else lambda f: f

        def __getattr__(self, name):
            return self

        def __call__(self, *args, **kwargs):
            return self

    triton = tl = _Missing()


def bind(template: Callable, **names: Any) -> Any:
    """The device function that a plain function is once some of its global names are given.

    A template for several device functions, where a closure would serve otherwise: Triton's interpreter runs functions
    without their enclosing scope.
    """
    if not HAS_TRITON:
        return template
    bound = types.FunctionType(template.__code__, {**template.__globals__, **names}, template.__name__)
    functools.update_wrapper(bound, template)
    # Triton takes two functions of one name, in one kernel, for the same.
    bound.__qualname__ = "_".join(
        (template.__qualname__, *(getattr(value, "__name__", "") for value in names.values()))
    )
    return triton.jit(bound)


__all__ = ["HAS_TRITON", "bind", "tl", "triton"]
