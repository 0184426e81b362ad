"""The derivative of gamma noise with respect to its concentration, by implicit reparameterisation.

g = g(a, u) keeps u = F(a, g) as the concentration a changes, so that dg/da = -(dF/da) / f(g). Source: Figurnov,
Mohamed and Mnih, "Implicit Reparameterization Gradients" (2018), equation 6.

dF/da is the integral of (log t - psi(a)) f(t) up to t = g, or beyond it with the other sign. With t = g exp(s w),
s = -1 up to g where log g < psi(a), else s = 1 beyond, no term of it changes sign:

    d log(g) / da = integral over w > 0 of (w + |log g - psi(a)|) exp(-s (g - a) w - g (exp(s w) - 1 - s w)).

Gauss and Legendre's rule up to where the exponent is -17 (-38 in float64) gives it within 4e-5 (1e-9) relative. For g
below 3, where a may be small and the integrand long, the power series of F in g takes its place.

How the quotient g / a moves is that less 1 / a, of which nearly everything cancels at large a. There, with d = a - 1/3
and g = d (1 + y)**3, y = z / (3 sqrt(d)), z is nearly standard normal (Wilson and Hilferty, "The distribution of
chi-square", 1931), and at fixed u it moves by

    dz/da = (z / 36 + z**3 / 108 - (8 + 4 z**2 + z**4) / (270 sqrt(a))) / a**2 + O(a**-3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...formula.polynomial import polynomial
from .quadrature import CUTOFF, CUTOFF64, RULE, RULE64

# (exp(z) - 1 - z) / z**2: minimax on [-1/2, 1/2], relative error 2.4e-8; the series, for float64.
_REMAINDER = (0.5, 0.16666665, 0.041665796, 0.0083334522, 0.0013981998, 0.0001987563)
_REMAINDER64 = tuple(1 / math.factorial(k) for k in range(2, 16))
# log(a) - psi(a) = (1/2 + (1/12 - s/120 + s**2/252 - ...) / a) / a, s = 1 / a**2, for a >= 6 (Abramowitz and Stegun,
# "Handbook of Mathematical Functions", 6.3.18).
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132)
_SHIFT = 6  # psi(a) is taken from psi(a + 6)


_TERMS, _TERMS64 = 16, 28  # of the power series


def _log_minus_digamma(a: Tensor) -> tuple[Tensor, Tensor]:
    """log(a) - psi(a), and log(a) - psi(a + 1)."""
    shifted = a + _SHIFT
    above = torch.log(a / shifted) + _asymptotic(shifted)
    for j in range(1, _SHIFT):
        above = above + 1 / (a + j)
    large = torch.where(a < 8, 8.0, a)
    return torch.where(a < 8, above + 1 / a, _asymptotic(large)), above


def _asymptotic(a: Tensor) -> Tensor:
    r = 1 / a
    return r * (0.5 + r * polynomial(r * r, _DIGAMMA))


def gamma_gradient(ratio: Tensor, power: Tensor, concentration: Tensor) -> Tensor:
    """d log(g) / d concentration at g = concentration * ratio * exp(power); positive."""
    large = concentration > (_LARGE64 if concentration.dtype == torch.float64 else _LARGE)
    return torch.where(
        large,
        1 / torch.where(large, concentration, 1.0) + _expansion(ratio, concentration, large),
        _gradient(ratio, power, torch.where(large, 1.0, concentration)),
    )


def _gradient(ratio: Tensor, power: Tensor, concentration: Tensor) -> Tensor:
    wide = concentration.dtype == torch.float64
    # Below these bounds g is 0.
    a = torch.clamp(concentration, _LEAST64 if wide else _LEAST, _LARGE64)
    noise = torch.clamp(torch.log(ratio) + power, -1e16, 1e16)
    difference, difference_above = _log_minus_digamma(a)
    # Beyond these bounds the result does not depend on g.
    bounded = torch.clamp(noise, -1e4, 700.0 if wide else 85.0)
    g = a * torch.exp(bounded)
    near = g < 3
    # F = g**a exp(-g) / Gamma(a + 1) * (1 + g / (a + 1) + g**2 / (a + 1) (a + 2) + ...), whose terms are positive.
    small = torch.where(near, g, 1.0)
    term = total = torch.ones_like(a)
    harmonic = slope = torch.zeros_like(a)
    for k in range(1, _TERMS64 if wide else _TERMS):
        r = 1 / (a + k)
        term, harmonic = term * (small * r), harmonic + r
        total, slope = total + term, slope - term * harmonic
    series = -(total * (noise + difference_above) + slope) / a

    offset = noise + difference
    upper = offset > 0
    sign = torch.where(upper, 1.0, -1.0).to(a.dtype)
    g = torch.where(near, 3.0, g)
    rate = torch.where(near, 1.0, sign * a * torch.expm1(bounded))
    cutoff = CUTOFF64 if wide else CUTOFF
    # Where the exponent is at most -cutoff: exp(w) - 1 - w >= w**2 / 2, and exp(-w) - 1 + w >= w**2 / (2 + w).
    rest = cutoff - 2 * rate
    beyond = 2 * cutoff / (rate + torch.sqrt(rate * rate + 2 * cutoff * g))
    before = 0.5 * (rest + torch.sqrt(rest * rest + 8 * cutoff * (rate + g))) / (rate + g)
    length = torch.where(upper, beyond, before)
    integral = torch.zeros_like(a)
    for node, weight in zip(*(RULE64 if wide else RULE), strict=True):
        w = length * node
        z = sign * w
        close = w < 0.5
        inner = torch.where(close, z, 0.0)
        remainder = inner * inner * polynomial(inner, _REMAINDER64 if wide else _REMAINDER)
        remainder = torch.where(close, remainder, torch.exp(z) - 1 - z)
        integral = integral + weight * (w + torch.abs(offset)) * torch.exp(-rate * w - g * remainder)
    return torch.where(near, series, integral * length)


# From here on the expansion takes the difference's place: within 3e-5 relative (1e-10 in float64).
_LARGE, _LARGE64 = 200.0, 1e5
_LEAST, _LEAST64 = 1e-18, 1e-150  # lower concentrations count as this


def quotient_gradient(ratio: Tensor, power: Tensor, concentration: Tensor) -> Tensor:
    """d log(g / concentration) / d concentration, of either sign; arguments as of :func:`gamma_gradient`."""
    large = concentration > (_LARGE64 if concentration.dtype == torch.float64 else _LARGE)
    a = torch.where(large, 1.0, concentration)
    difference = _gradient(ratio, power, a) - 1 / torch.clamp(a, _LEAST64 if a.dtype == torch.float64 else _LEAST, 1e5)
    return torch.where(large, _expansion(ratio, concentration, large), difference)


def _expansion(ratio: Tensor, concentration: Tensor, large: Tensor) -> Tensor:
    a = torch.where(large, concentration, 1.0)
    d, s = a - 1 / 3, 1 / a
    y = torch.expm1(torch.log1p(torch.where(large, (ratio - 1) + ratio / (3 * d), 0.0)) / 3)
    square = d * y * y  # z**2 / 9
    moved = y * (s * (1 / 12 + 0.25 * square) - 1.5) - s * s * (4 / 135 + square * (2 / 15 + 0.3 * square))
    return (s / 3 + moved / (1 + y)) / d


def ratio_slope(ratio: Tensor, power: Tensor, concentration: Tensor) -> Tensor:
    """d ratio / d concentration where the power is held, and the ratio makes up for it."""
    return ratio * quotient_gradient(ratio, power, concentration)
