"""Normal: loc + scale * eps, eps standard normal; and its absolute value without loc."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..stream.noise import NORMAL
from .location_scale import Standard, location_scale_law, scale_law
from .support import HALF_LINE

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)
HALF_LOG_2_OVER_PI = 0.5 * math.log(2 / math.pi)


def standard_normal(eps: Tensor) -> Tensor:
    return eps


def standard_normal_log_density(eps: Tensor) -> Tensor:
    return -0.5 * eps * eps - HALF_LOG_2_PI


def standard_normal_slope(eps: Tensor) -> Tensor:
    return -eps


def normal_log_prob(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Log-density, without the square of scale, which may be no number of the dtype."""
    z = (x - loc) / scale
    return -0.5 * z * z - torch.log(scale) - HALF_LOG_2_PI


def half_normal_log_prob(x: Tensor, scale: Tensor) -> Tensor:
    z = x / scale
    return torch.where(x < 0, -math.inf, -0.5 * z * z - torch.log(scale) + HALF_LOG_2_OVER_PI)


NORMAL_LAW = location_scale_law(
    "normal",
    Standard(
        noise=NORMAL,
        reference=standard_normal,
        log_density=standard_normal_log_density,
        slope=standard_normal_slope,
    ),
    at=normal_log_prob,
)


def standard_half_normal(eps: Tensor) -> Tensor:
    return torch.abs(eps)


def standard_half_normal_log_density(eps: Tensor) -> Tensor:
    return -0.5 * eps * eps + HALF_LOG_2_OVER_PI


def standard_half_normal_slope(eps: Tensor) -> Tensor:
    return -torch.abs(eps)


HALF_NORMAL_LAW = scale_law(
    "half_normal",
    Standard(
        noise=NORMAL,
        reference=standard_half_normal,
        log_density=standard_half_normal_log_density,
        slope=standard_half_normal_slope,
    ),
    at=half_normal_log_prob,
    support=HALF_LINE,
)
