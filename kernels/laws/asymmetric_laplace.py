"""Asymmetric Laplace: loc - scale k E with probability p = k**2 / (1 + k**2), else loc + (scale / k) E, E exponential.

Both come of one uniform number u: E = -log(u / p) where u < p, else -log((1 - u) / (1 - p)). So the sample is the
quantile of u, and its gradient is that of the quantile.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formula.special import uniforms
from ..stream.noise import CENTERED
from .law import Density, Law
from .support import Support


def _side(t: Tensor, asymmetry: Tensor) -> tuple[Tensor, Tensor]:
    """E, and whether it goes to the left."""
    k = torch.clamp(asymmetry, 1e-15, 1e15)  # beyond, one side has all
    square = k * k
    p, q = square / (1 + square), 1 / (1 + square)
    # The distance to the nearer end is exact.
    left = torch.where(t > 0, p - t, -t - q) > 0
    u, v = uniforms(t)
    return -torch.log(torch.where(left, u, v) / torch.where(left, p, q)), left


def _reference(t: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> Tensor:
    e, left = _side(t, asymmetry)
    k = torch.clamp(asymmetry, torch.finfo(asymmetry.dtype).tiny, math.inf)  # whose inverse is a number
    return loc + scale * (e * torch.where(left, -k, 1 / k))


def _log_density(t: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> Tensor:
    return -_side(t, asymmetry)[0] - torch.log(scale) - torch.log(asymmetry + 1 / asymmetry)


def asymmetric_laplace_log_prob(x: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> Tensor:
    z = (x - loc) / scale
    e = torch.where(x < loc, -z / asymmetry, z * asymmetry)
    return -e - torch.log(scale) - torch.log(asymmetry + 1 / asymmetry)


ASYMMETRIC_LAPLACE_LAW = Law(
    name="asymmetric_laplace",
    parameters=("loc", "scale", "asymmetry"),
    noise=CENTERED,
    reference=_reference,
    support=Support(-math.inf, math.inf),
    density=Density(
        at=asymmetric_laplace_log_prob,
        reference=_log_density,
    ),
)
