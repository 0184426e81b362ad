"""Gumbel: loc + scale * e, e = -log(E), E standard exponential."""

from __future__ import annotations

import torch
from torch import Tensor

from ..stream.noise import COARSE_EXPONENTIAL
from .location_scale import Standard, location_scale_law
from .support import REAL_LINE


def standard_gumbel(x: Tensor) -> Tensor:
    return -torch.log(x)


def standard_gumbel_log_density(x: Tensor) -> Tensor:
    # -e - exp(-e)
    return torch.log(x) - x


def standard_gumbel_slope(x: Tensor) -> Tensor:
    return x - 1


def gumbel_log_prob(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    y = (loc - x) / scale
    greatest = torch.finfo(y.dtype).max
    return torch.clamp(y, max=greatest) - torch.exp(y) - torch.log(scale)


GUMBEL_LAW = location_scale_law(
    "gumbel",
    Standard(
        noise=COARSE_EXPONENTIAL,
        reference=standard_gumbel,
        log_density=standard_gumbel_log_density,
        slope=standard_gumbel_slope,
    ),
    at=gumbel_log_prob,
    support=REAL_LINE,
)
