"""Polynomials by Horner's rule."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The polynomial with at least two coefficients, the constant first."""
    p = x * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        p = p * x + c
    return p
