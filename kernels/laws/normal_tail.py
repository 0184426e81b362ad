"""The upper tail of the standard normal distribution, scaled: Q(z) = S(z) exp(-z**2 / 2), and where to look for z.

S is a polynomial of 1 - 2 k / (z + k) over z + k; z must be non-negative, up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..formula.polynomial import polynomial

# Chebyshev's interpolations, constant first. Relative errors before rounding: 1.1e-8 and 5e-17.
_K_32, _K_64 = 3.5, 5.0
_COEFFICIENTS_32 = (
    0.744416075,
    -0.565561909,
    0.315425058,
    -0.116049045,
    0.0174060587,
    0.00646523408,
    -0.0031789859,
    -0.000417768598,
    0.00045269392,
    3.46352008e-05,
    -4.97668894e-05,
)
_COEFFICIENTS_64 = (
    0.769193049750063,
    -0.6653825028900577,
    0.4953056159699768,
    -0.3135331566712138,
    0.16502036617034282,
    -0.06911863870881432,
    0.020795066800941616,
    -0.00299337673822322,
    -0.0007978694094808063,
    0.00054489883090093,
    -5.9375673286488655e-05,
    -4.976177118979218e-05,
    1.6681099115863468e-05,
    3.977912640593242e-06,
    -2.769337871043854e-06,
    -3.310698071526862e-07,
    4.340262594829775e-07,
    3.581840051543223e-08,
    -6.782555313291156e-08,
    -5.015649939857857e-09,
    9.446827519677366e-09,
    5.037302126379857e-10,
    -8.166192624428987e-10,
)
# z = s - p(s) / q(s), s = sqrt(-2 log Q(z)), within 1.2e-4 for 0 <= z <= 60: least squares, weighted towards minimax.
_START_P = (2.61653272, 1.32621806, 0.0416470261)
_START_Q = (1.0, 1.76509513, 0.36747423, 0.00625296859)


def scaled_tail(z: Tensor) -> Tensor:
    """S(z)."""
    single = z.dtype == torch.float32
    k = _K_32 if single else _K_64
    inverse = 1 / (z + k)
    return polynomial(1 - 2 * k * inverse, _COEFFICIENTS_32 if single else _COEFFICIENTS_64) * inverse


def tail_start(s: Tensor) -> Tensor:
    """z to four digits from s = sqrt(-2 log Q(z)), Q(z) at most 1/2 and z at most 60."""
    return s - polynomial(s, _START_P) / polynomial(s, _START_Q)
