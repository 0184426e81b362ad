"""Tanh-normal: tanh(loc + scale * eps), eps standard normal.

Source of the density: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018), appendix C, with
log(1 - tanh(z)^2) = 2 (log 2 - |z| - log(1 + exp(-2 |z|))), which is exact where tanh(z) rounds to 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..stream.noise import NORMAL
from .law import Density, Law
from .normal import HALF_LOG_2_PI, normal_log_prob
from .support import Support

LOG_4 = math.log(4)


def tanh_normal_reference(eps: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return torch.tanh(torch.addcmul(loc, scale, eps))


def tanh_normal_log_prob_reference(eps: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    z = torch.abs(torch.addcmul(loc, scale, eps))
    log_normal = -0.5 * eps * eps - HALF_LOG_2_PI - torch.log(scale)
    return log_normal + 2 * (z + torch.log1p(torch.exp(-2 * z))) - LOG_4


def tanh_normal_reference_score(eps: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    unit = grad / scale
    return unit * eps, unit * (eps * eps - 1)


def tanh_normal_log_prob_at(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    z = torch.atanh(x)
    magnitude = torch.where(z < 0, -z, z)  # an absolute value has no second derivative at 0
    return normal_log_prob(z, loc, scale) + 2 * (magnitude + torch.log1p(torch.exp(-2 * magnitude))) - LOG_4


TANH_NORMAL_LAW = Law(
    name="tanh_normal",
    parameters=("loc", "scale"),
    noise=NORMAL,
    reference=tanh_normal_reference,
    support=Support(-1.0, 1.0),
    density=Density(
        at=tanh_normal_log_prob_at,
        reference=tanh_normal_log_prob_reference,
        reference_score=tanh_normal_reference_score,
    ),
)
