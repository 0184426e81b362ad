"""Laplace: loc + scale * e, e an exponential with a random sign."""

from __future__ import annotations

import torch
from torch import Tensor

from ..stream.noise import CENTERED
from .location_scale import Standard, location_scale_law
from .support import REAL_LINE


def standard_laplace(t: Tensor) -> Tensor:
    # 2 |t| is uniform in (0, 1] and independent of the sign of t.
    return torch.copysign(torch.log(2 * torch.abs(t)), t)


def standard_laplace_log_density(t: Tensor) -> Tensor:
    # log(exp(-|e|) / 2)
    return torch.log(torch.abs(t))


def standard_laplace_slope(t: Tensor) -> Tensor:
    return torch.where(t > 0, -1.0, 1.0).to(t.dtype)


LAPLACE_LAW = location_scale_law(
    "laplace",
    Standard(
        noise=CENTERED,
        reference=standard_laplace,
        log_density=standard_laplace_log_density,
        slope=standard_laplace_slope,
    ),
    at=lambda x, loc, scale: torch.distributions.Laplace(loc, scale, validate_args=False).log_prob(x),
    support=REAL_LINE,
)
