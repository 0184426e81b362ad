"""Polynomials by Horner's rule, as torch code and on the device."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..runtime.language import tl, triton


def polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The polynomial with at least two coefficients, the constant first."""
    p = x * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        p = p * x + c
    return p


@triton.jit
def scaled_add(x, FACTOR: tl.constexpr, y):
    """FACTOR x + y with a constant factor, which `tl.fma` would round to float32."""
    if x.dtype == tl.float64:
        return x * FACTOR + y
    else:
        return tl.fma(x, FACTOR, y)


@triton.jit
def polynomial_device(x, COEFFICIENTS: tl.constexpr):
    """Device twin of :func:`polynomial`; COEFFICIENTS is a `tl.constexpr` of a tuple.

    Not the tuple itself, which Triton takes for an argument of run time before 3.8.
    """
    C: tl.constexpr = COEFFICIENTS.value
    N: tl.constexpr = len(C)
    p = scaled_add(x, C[N - 1], C[N - 2])
    for i in tl.static_range(2, N):
        p = p * x + C[N - 1 - i] if x.dtype == tl.float64 else tl.fma(p, x, C[N - 1 - i])
    return p
