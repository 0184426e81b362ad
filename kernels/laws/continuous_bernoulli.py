"""Continuous Bernoulli: density proportional to exp(l x) on the unit interval, from probs or from logits l.

With u uniform the sample is x = log(1 + u (exp(l) - 1)) / l, and W = (1 - exp(-l x)) / (1 - exp(-l)) is what its
derivative is made of: dx/dl = (W - x) / l. Noise gives u and 1 - u exactly, so that nothing is lost at either end.

Source: Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational autoencoders"
(2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..formula.polynomial import polynomial
from ..formula.special import uniforms
from ..stream.noise import CENTERED
from .law import Density, Law
from .support import UNIT_INTERVAL

# Beyond this |l| the nearer end alone decides, to the precision of float64: exp(-80) is 2e-35, and u is never so small.
_STEEP = 80.0
# Nearer to 0 l makes no difference.
_FLAT = 1e-20
_BERNOULLI_NUMBERS = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798)
# The variance, a series of l**2.
_VARIANCE_SERIES = tuple((2 * n + 1) * b / math.factorial(2 * n + 2) for n, b in enumerate(_BERNOULLI_NUMBERS))


def _magnitude(logits: Tensor) -> Tensor:
    return torch.clamp(torch.abs(logits), _FLAT, float("inf"))


def _growth(logits: Tensor) -> tuple[Tensor, Tensor]:
    """exp(l) and exp(l) - 1."""
    bounded = torch.clamp(logits, -_STEEP, _STEEP)
    return torch.exp(bounded), torch.expm1(bounded)


def _exponent(t: Tensor, logits: Tensor, growth: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """l x, and l x - max(l, 0)."""
    u, v = uniforms(t)
    rise = u * growth[1]
    # 1 + rise from positive terms where rise nears -1; at a steep ascent exp(-l) times it, of which u is left.
    steep = logits > _STEEP
    near = torch.where(steep, -1.0, rise) > -0.5
    total = torch.where(steep, u, v + u * growth[0])
    close, far = torch.log1p(torch.where(near, rise, 0.0)), torch.log(total)
    ascent = torch.clamp(logits, 0.0, float("inf"))
    return torch.where(near, close, far + ascent), torch.where(near, close - ascent, far)


def _sample(t: Tensor, logits: Tensor, growth: tuple[Tensor, Tensor]) -> Tensor:
    flat = torch.abs(logits) < _FLAT
    u, v = uniforms(t)
    # The second term is too small to count, but its derivative is not.
    return torch.where(flat, u + 0.5 * logits * u * v, _exponent(t, logits, growth)[0] / torch.where(flat, 1.0, logits))


def _smooth_sample(t: Tensor, logits: Tensor) -> Tensor:
    """`_sample` by a series next to 0, where the derivative of its formula would cancel."""
    bound = 0.05 if t.dtype == torch.float32 else 0.002
    near = torch.abs(logits) < bound
    u, v = uniforms(t)
    small, y, slope = torch.where(near, logits, 0.0), u * v, v - u
    series = u + y * small * (0.5 + small * (slope / 6 + small * ((1 - 6 * y) / 24)))
    large = torch.where(near, 1.0, logits)
    return torch.where(near, series, _sample(t, large, _growth(large)))


def _weight(t: Tensor, logits: Tensor) -> Tensor:
    """W."""
    u, v = uniforms(t)
    rising = logits > 0
    falling = torch.exp(torch.clamp(torch.where(rising, -logits, logits), -_STEEP, 1.0))
    part = torch.where(rising, u, u * falling)
    return part / (part + torch.where(rising, v * falling, v))


def _sensitivity(x: Tensor, t: Tensor, logits: Tensor) -> Tensor:
    """dx/dl at the sample x."""
    bound = 0.25 if t.dtype == torch.float32 else 0.02
    near = torch.abs(logits) < bound
    small, y, slope = torch.where(near, logits, 0.0), x * (1 - x), 1 - 2 * x
    # Derivatives of (W - x) / l at 0 are Bernoulli's polynomials.
    series = small * (-y / 24 + small * (-slope * (y + 1 / 3) / 240 + small * (y * (y + 0.5) / 720)))
    series = y * (0.5 + small * (slope / 12 + series))
    return torch.where(near, series, (_weight(t, logits) - x) / torch.where(near, 1.0, logits))


def mean_of_logits(logits: Tensor) -> Tensor:
    """1 / (1 - exp(-l)) - 1 / l."""
    bound = 0.5 if logits.dtype == torch.float32 else 0.05
    near = torch.abs(logits) < bound
    small, large = torch.where(near, logits, 0.0), torch.where(near, 1.0, logits)
    square = small * small
    series = 0.5 + small * (1 / 12 + square * (-1 / 720 + square * (1 / 30240)))
    magnitude = torch.abs(large)
    falling = 1 / magnitude + torch.exp(-magnitude) / torch.expm1(-magnitude)
    return torch.where(near, series, torch.where(large > 0, 1 - falling, falling))


def variance_of_logits(logits: Tensor) -> Tensor:
    """The derivative of the mean, 1 / l**2 - exp(-l) / (1 - exp(-l))**2."""
    near = torch.abs(logits) < 1
    small, magnitude = torch.where(near, logits, 0.0), torch.where(near, 1.0, torch.abs(logits))
    series = polynomial(small * small, _VARIANCE_SERIES)
    growth = torch.expm1(-magnitude)
    return torch.where(near, series, 1 / (magnitude * magnitude) - torch.exp(-magnitude) / (growth * growth))


def _log_peak(logits: Tensor) -> Tensor:
    """The logarithm of the density at the more likely end, |l| / (1 - exp(-|l|))."""
    magnitude = _magnitude(logits)
    return torch.log(magnitude / -torch.expm1(-magnitude))


def _log_prob(t: Tensor, logits: Tensor) -> Tensor:
    return _exponent(t, logits, _growth(logits))[1] + _log_peak(logits)


def _log_prob_grad(t: Tensor, logits: Tensor) -> Tensor:
    return _weight(t, logits) - mean_of_logits(logits)


def _score(t: Tensor, logits: Tensor) -> Tensor:
    return _smooth_sample(t, logits) - mean_of_logits(logits)


def _logits(probs: Tensor) -> Tensor:
    return torch.log(probs / (1 - probs))


def log_prob_of_logits(x: Tensor, logits: Tensor) -> Tensor:
    """Log-density at x, differentiable also at l = 0 and exact for every l."""
    bound = 0.1 if logits.dtype == torch.float64 else 0.5
    near = torch.abs(logits) < bound
    small, large = torch.where(near, logits, 0.0), torch.where(near, 1.0, logits)
    square = small * small
    series = square * (-1 / 24 + square * (1 / 2880 - square / 181440)) - 0.5 * small
    magnitude = torch.abs(large)
    log_peak = torch.log(magnitude / -torch.expm1(-magnitude))
    # Counted from the likelier end nothing cancels.
    return torch.where(near, small * x + series, large * torch.where(large > 0, x - 1, x) + log_peak)


def log_prob_of_probs(x: Tensor, probs: Tensor) -> Tensor:
    """The same, from probs."""
    return log_prob_of_logits(x, torch.log(probs) - torch.log1p(-probs))


def cdf_of_logits(x: Tensor, logits: Tensor) -> Tensor:
    """(exp(l x) - 1) / (exp(l) - 1), by its series next to l = 0."""
    x = torch.clamp(x, 0, 1)
    near = torch.abs(logits) < (0.02 if logits.dtype == torch.float64 else 0.25)
    small, large = torch.where(near, logits, 0.0), torch.where(near, 1.0, logits)
    y, slope = x * (1 - x), 1 - 2 * x
    # The coefficients are Bernoulli's polynomials.
    series = small * (y * y / 24 + small * (-slope * y * (y + 1 / 3) / 240 + small * (-y * y * (y + 0.5) / 720)))
    series = x + small * (-y / 2 + small * (slope * y / 12 + series))
    magnitude = torch.abs(large)
    fraction = torch.expm1(-magnitude * x) / torch.expm1(-magnitude)
    rising = torch.exp(-magnitude * (1 - x)) * fraction
    return torch.where(near, series, torch.where(large > 0, rising, fraction))


def icdf_of_logits(u: Tensor, logits: Tensor) -> Tensor:
    """log(1 + u (exp(l) - 1)) / l."""
    inside = torch.where((u > 0) & (u < 1), u, 0.5)
    x = _smooth_sample(torch.where(inside < 0.5, inside, inside - 1), logits)
    return torch.where(inside == u, x, u)


def entropy_of_logits(logits: Tensor) -> Tensor:
    """The log-density is affine in the sample; the law of -l is the mirrored one."""
    falling = torch.where(logits > 0, -logits, logits)  # an absolute value has no second derivative at 0
    return -log_prob_of_logits(mean_of_logits(falling), falling)


def from_logits_reference(t: Tensor, logits: Tensor) -> Tensor:
    # Far above it the sample rounds to 1; a GPU's division by more than 2**126 would give 0.
    return torch.where(logits > 8e37, 1.0, _sample(t, logits, _growth(logits)))


def from_logits_reference_grad(t: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    # Derived, terms cancel next to logits of 0: in float32 3e-4 of the gradient at 0.01.
    return (grad * _sensitivity(_smooth_sample(t, logits), t, logits),)


# On a GPU nobody takes derivatives of these two: without the series of the sample they have a tenth fewer instructions.


def _from_logits_device_grad(t: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    return (grad * _sensitivity(from_logits_reference(t, logits), t, logits),)


def _from_logits_device_score(t: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    return (grad * (from_logits_reference(t, logits) - mean_of_logits(logits)),)


def from_logits_log_prob_reference_grad(t: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    return (grad * _log_prob_grad(t, logits),)


def from_logits_reference_score(t: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    return (grad * _score(t, logits),)


def from_probs_reference(t: Tensor, probs: Tensor) -> Tensor:
    # exp(|l|) - 1 has no cancellation, and all the rest comes from it: l is relatively exact next to 0, too.
    failure = 1 - probs
    difference = probs - failure
    rise = torch.abs(difference) / torch.minimum(probs, failure)
    inverse = torch.reciprocal(failure)
    logits = torch.copysign(torch.log1p(rise), difference)
    return _sample(t, logits, (probs * inverse, difference * inverse))


def _of_probs(function: Callable[..., tuple[Tensor]]) -> Callable[..., tuple[Tensor]]:
    """The gradient of probs from that of logits."""

    def gradient(t: Tensor, grad: Tensor, probs: Tensor) -> tuple[Tensor]:
        return function(t, grad / (probs * (1 - probs)), _logits(probs))

    return gradient


CONTINUOUS_BERNOULLI_LOGITS_LAW = Law(
    name="continuous_bernoulli_logits",
    parameters=("logits",),
    noise=CENTERED,
    reference=from_logits_reference,
    reference_grad=from_logits_reference_grad,
    support=UNIT_INTERVAL,
    transform_grad=_from_logits_device_grad,
    density=Density(
        at=log_prob_of_logits,
        reference=_log_prob,
        reference_grad=from_logits_log_prob_reference_grad,
        reference_score=from_logits_reference_score,
        score=_from_logits_device_score,
    ),
)
CONTINUOUS_BERNOULLI_PROBS_LAW = Law(
    name="continuous_bernoulli_probs",
    parameters=("probs",),
    noise=CENTERED,
    reference=from_probs_reference,
    reference_grad=_of_probs(from_logits_reference_grad),
    support=UNIT_INTERVAL,
    # Of the logits, which the log-density takes too: a quarter fewer instructions of both.
    transform=lambda t, probs: from_logits_reference(t, _logits(probs)),
    transform_grad=_of_probs(_from_logits_device_grad),
    density=Density(
        at=log_prob_of_probs,
        reference=lambda t, probs: _log_prob(t, _logits(probs)),
        reference_grad=_of_probs(from_logits_log_prob_reference_grad),
        reference_score=_of_probs(from_logits_reference_score),
        score=_of_probs(_from_logits_device_score),
    ),
)
