"""Rayleigh: scale * sqrt(2 E), E standard exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..stream.noise import EXPONENTIAL
from .location_scale import Standard, scale_law
from .support import POSITIVE


def rayleigh_log_prob(x: Tensor, scale: Tensor) -> Tensor:
    z = x / scale
    log_prob = torch.log(torch.where(x < 0, 1.0, x)) - 2 * torch.log(scale) - 0.5 * z * z
    return torch.where((x < 0) | (z == math.inf), -math.inf, log_prob)


RAYLEIGH_LAW = scale_law(
    "rayleigh",
    Standard(
        noise=EXPONENTIAL,
        reference=lambda e: torch.sqrt(2 * e),
        log_density=lambda e: 0.5 * torch.log(2 * e) - e,
        # 1 / r - r
        slope=lambda e: (1 - 2 * e) / torch.sqrt(2 * e),
    ),
    at=rayleigh_log_prob,
    support=POSITIVE,
)
