"""Triton's language, or a stand-in where Triton is not installed.

Modules that hold device functions hold torch code, too, so they must import on machines without
Triton (macOS, Windows). There `jit` leaves a function as it is; nothing calls it, because only the triton backend
launches kernels and :mod:`runtime.backend` refuses it when `HAS_TRITON` is false.
"""

from __future__ import annotations

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


__all__ = ["HAS_TRITON", "tl", "triton"]
