"""What laws of counts share: exponential arrivals for small means, transformed rejection for large ones.

Sources: Hörmann, "The transformed rejection method for generating Poisson random variables" (1993), whose candidate is
k = floor((2 a / s + b) U + c), s = 1/2 - |U|, with U uniform in (-1/2, 1/2), taken with a probability proportional to
(a / s**2 + b) p(k). Loader, "Fast and accurate computation of binomial probabilities" (2000), whose form of p(k) does
not cancel at large counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...formula.special import fused_polynomial

# From this mean on counts are made by rejection.
LARGE_MEAN = 10.0

HALF_LOG_2_PI = 0.9189385332046727
SQRT_2_PI = 2.5066282746310002

# k times the error of Stirling's formula as a polynomial of k**-2, minimax for whole k >= 1: error 2.1e-10.
_STIRLING = (
    0.0833333282118195,
    -0.002777255875585051,
    0.0007795300536326786,
    -0.0004499224069420971,
    0.000175787016960612,
)
# artanh(v) / v**3 - v**-2 as a polynomial of v**2: its series, for |v| < 0.1 to 1e-11.
_ARTANH = (1 / 3, 1 / 5, 1 / 7, 1 / 9, 1 / 11)

# A candidate's (center c, a, b), and the value of (a / s**2 + b) p(k) at which acceptance is certain, p(k) being the
# mass.
Hat = tuple[Tensor, Tensor, Tensor, Tensor]


def at_least_one(k: Tensor) -> Tensor:
    return torch.where(k < 1, 1.0, k)


def stirling(k: Tensor) -> Tensor:
    """log(k! / (sqrt(k) (k / e)**k)) - log(2 pi) / 2 for whole k >= 0, where the k under the root is at least 1."""
    inverse = 1 / at_least_one(k)
    return torch.where(k < 1, -HALF_LOG_2_PI, inverse * fused_polynomial(inverse * inverse, _STIRLING))


def deviance(k: Tensor, mean: Tensor, difference: Tensor) -> Tensor:
    """k log(k / mean) + mean - k, where the difference is k - mean."""
    v = difference / (k + mean)
    square = v * v
    near = difference * v + 2 * k * v * square * fused_polynomial(square, _ARTANH)
    far = k * torch.log(at_least_one(k) / mean) - difference
    return torch.where(torch.abs(v) < 0.1, near, far)


def transformed(t: Tensor, v: Tensor, hat: Hat, mass: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The count of a candidate, and whether it is rejected; `mass` is sqrt(2 pi) p."""
    center, a, b, bound = hat
    # t is s with the sign of U: the tails are reached where floating-point numbers are dense.
    s = torch.abs(t)
    inverse = 1 / s
    x = (2 * a * inverse + b) * (0.5 - s)
    k = torch.floor(torch.where(t < 0, -x, x) + center)
    return k, v * bound > (a * inverse * inverse + b) * mass(k)
