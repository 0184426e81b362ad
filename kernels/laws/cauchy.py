"""Cauchy: loc + scale * e, e the cotangent of a uniform angle; and its absolute value without loc."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formula.special import cotangent, log1p_of_square
from ..stream.noise import CENTERED
from .location_scale import Standard, location_scale_law, scale_law
from .support import HALF_LINE, REAL_LINE


def standard_cauchy_log_density(t: Tensor) -> Tensor:
    e = cotangent(t)
    return -torch.log1p(e * e) - math.log(math.pi)


def _device_log_density(t: Tensor, area: float) -> Tensor:
    """A fifth fewer instructions: log1p is other than log where neither counts beside the logarithm of the area."""
    e = cotangent(t)
    return -torch.log(1 + e * e) - math.log(area)


def standard_cauchy_slope(t: Tensor) -> Tensor:
    e = cotangent(t)
    # -2 e / (1 + e^2) without e^2, which may overflow.
    return -2 / (e + torch.reciprocal(e))


def cauchy_log_prob(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -math.log(math.pi) - torch.log(scale) - log1p_of_square((x - loc) / scale)


def cauchy_icdf(u: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """loc - scale / tan(pi u), of the nearer of 0 and 1."""
    return loc + torch.where(u < 0.5, -scale, scale) / torch.tan(math.pi * torch.minimum(u, 1 - u))


def half_cauchy_icdf(u: Tensor, scale: Tensor) -> Tensor:
    """scale * tan(pi u / 2), of the nearer of 0 and 1."""
    of_upper = 1 / torch.tan(0.5 * math.pi * torch.where(u < 0.5, 1.0, 1 - u))
    return scale * torch.where(u < 0.5, torch.tan(0.5 * math.pi * u), of_upper)


def half_cauchy_log_prob(x: Tensor, scale: Tensor) -> Tensor:
    return torch.where(x < 0, -math.inf, -math.log(math.pi / 2) - torch.log(scale) - log1p_of_square(x / scale))


CAUCHY_LAW = location_scale_law(
    "cauchy",
    Standard(
        noise=CENTERED,
        reference=cotangent,
        log_density=standard_cauchy_log_density,
        slope=standard_cauchy_slope,
        device_log_density=lambda t: _device_log_density(t, math.pi),
    ),
    at=cauchy_log_prob,
    support=REAL_LINE,
)


def standard_half_cauchy(t: Tensor) -> Tensor:
    return torch.abs(cotangent(t))


def standard_half_cauchy_log_density(t: Tensor) -> Tensor:
    e = cotangent(t)
    return -torch.log1p(e * e) - math.log(math.pi / 2)


def standard_half_cauchy_slope(t: Tensor) -> Tensor:
    return -torch.abs(standard_cauchy_slope(t))


HALF_CAUCHY_LAW = scale_law(
    "half_cauchy",
    Standard(
        noise=CENTERED,
        reference=standard_half_cauchy,
        log_density=standard_half_cauchy_log_density,
        slope=standard_half_cauchy_slope,
        device_log_density=lambda t: _device_log_density(t, math.pi / 2),
    ),
    at=half_cauchy_log_prob,
    support=HALF_LINE,
)
