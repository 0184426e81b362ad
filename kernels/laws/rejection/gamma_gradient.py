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

from ...formula.devicemath import divide, exp, expm1, log, log1p
from ...formula.polynomial import polynomial, polynomial_device
from ...runtime.language import tl, triton
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


_DEVICE_RULE, _DEVICE_RULE64 = tl.constexpr(RULE), tl.constexpr(RULE64)
_DEVICE_REMAINDER, _DEVICE_REMAINDER64 = tl.constexpr(_REMAINDER), tl.constexpr(_REMAINDER64)
_DEVICE_DIGAMMA = tl.constexpr(_DIGAMMA)


@triton.jit
def _asymptotic_device(a, HARDWARE: tl.constexpr):
    r = divide(tl.full(a.shape, 1.0, a.dtype), a, HARDWARE)
    return r * (r * polynomial_device(r * r, _DEVICE_DIGAMMA) + 0.5)


@triton.jit
def _log_minus_digamma_device(a, HARDWARE: tl.constexpr):
    one = tl.full(a.shape, 1.0, a.dtype)
    shifted = a + 6.0
    above = log(a / shifted, HARDWARE) + _asymptotic_device(shifted, HARDWARE)
    for j in tl.static_range(1, 6):
        above += divide(one, a + j, HARDWARE)
    return tl.where(a < 8.0, above + divide(one, a, HARDWARE), _asymptotic_device(a, HARDWARE)), above


@triton.jit
def gamma_gradient_device(ratio, power, concentration, HARDWARE: tl.constexpr):
    """Device twin of :func:`gamma_gradient`."""
    LARGE: tl.constexpr = 1e5 if concentration.dtype == tl.float64 else 200.0
    one = tl.full(concentration.shape, 1.0, concentration.dtype)
    expansion = divide(one, concentration, HARDWARE) + _expansion_device(ratio, concentration, HARDWARE)
    return tl.where(concentration > LARGE, expansion, _gradient_device(ratio, power, concentration, HARDWARE))


@triton.jit
def _gradient_device(ratio, power, concentration, HARDWARE: tl.constexpr):
    a = tl.minimum(tl.maximum(concentration, 1e-150 if concentration.dtype == tl.float64 else 1e-18), 1e5)
    noise = tl.minimum(tl.maximum(tl.log(ratio) + power, -1e16), 1e16)
    WIDE: tl.constexpr = a.dtype == tl.float64
    RULE: tl.constexpr = _DEVICE_RULE64.value if WIDE else _DEVICE_RULE.value
    REMAINDER: tl.constexpr = _DEVICE_REMAINDER64 if WIDE else _DEVICE_REMAINDER
    CUTOFF: tl.constexpr = 38.0 if WIDE else 17.0
    difference, difference_above = _log_minus_digamma_device(a, HARDWARE)
    bounded = tl.minimum(tl.maximum(noise, -1e4), 700.0 if WIDE else 85.0)
    g = a * exp(bounded, HARDWARE)
    near = g < 3.0
    one = tl.full(a.shape, 1.0, a.dtype)
    small = tl.where(near, g, 1.0)
    term = one
    total = one
    harmonic = tl.zeros_like(a)
    slope = tl.zeros_like(a)
    for k in tl.static_range(1, 28 if WIDE else 16):
        r = divide(one, a + k, HARDWARE)
        term *= small * r
        harmonic += r
        total += term
        slope -= term * harmonic
    series = -divide(total * (noise + difference_above) + slope, a, HARDWARE)

    offset = noise + difference
    upper = offset > 0
    sign = tl.where(upper, one, -one)
    g = tl.where(near, 3.0, g)
    rate = tl.where(near, 1.0, sign * a * expm1(bounded, HARDWARE))
    rest = CUTOFF - 2.0 * rate
    beyond = 2.0 * CUTOFF / (rate + tl.sqrt(rate * rate + 2.0 * CUTOFF * g))
    before = 0.5 * (rest + tl.sqrt(rest * rest + 8.0 * CUTOFF * (rate + g))) / (rate + g)
    length = tl.where(upper, beyond, before)
    integral = tl.zeros_like(a)
    for i in tl.static_range(len(RULE[0])):
        w = length * RULE[0][i]
        z = sign * w
        remainder = tl.where(w < 0.5, z * z * polynomial_device(z, REMAINDER), exp(z, HARDWARE) - 1.0 - z)
        integral += RULE[1][i] * (w + tl.abs(offset)) * exp(-rate * w - g * remainder, HARDWARE)
    return tl.where(near, series, integral * length)


@triton.jit
def quotient_gradient_device(ratio, power, concentration, HARDWARE: tl.constexpr):
    """Device twin of :func:`quotient_gradient`."""
    LARGE: tl.constexpr = 1e5 if concentration.dtype == tl.float64 else 200.0
    a = tl.maximum(concentration, 1e-150 if concentration.dtype == tl.float64 else 1e-18)
    difference = _gradient_device(ratio, power, concentration, HARDWARE)
    difference -= divide(tl.full(a.shape, 1.0, a.dtype), a, HARDWARE)
    return tl.where(a > LARGE, _expansion_device(ratio, a, HARDWARE), difference)


@triton.jit
def _expansion_device(ratio, a, HARDWARE: tl.constexpr):
    one = tl.full(a.shape, 1.0, a.dtype)
    d = a - 1.0 / 3
    s = divide(one, a, HARDWARE)
    y = expm1(log1p((ratio - 1.0) + divide(ratio, 3.0 * d, HARDWARE), HARDWARE) * (1.0 / 3), HARDWARE)
    square = d * y * y
    moved = y * (s * (square * 0.25 + 1.0 / 12) - 1.5) - s * s * (square * (square * 0.3 + 2.0 / 15) + 4.0 / 135)
    return divide(s * (1.0 / 3) + divide(moved, 1.0 + y, HARDWARE), d, HARDWARE)
