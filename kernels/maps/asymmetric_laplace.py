"""Asymmetric Laplace: loc - scale k E with probability p = k**2 / (1 + k**2), else loc + (scale / k) E, E exponential.

Both come of one uniform number u: E = -log(u / p) where u < p, else -log((1 - u) / (1 - p)). So the sample is the
quantile of u, and its gradient is that of the quantile.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..noise import CENTERED
from .map import Density, Map
from .support import Support


def _sides(t: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    """Whether it is left, E, the signed scale in units of `scale`, and the probability of the other side."""
    inverse = 1 / k
    p, q = 1 / (1 + inverse * inverse), 1 / (1 + k * k)
    # u is t or 1 + t: the distance to the nearer end is exact.
    left = torch.where(t > 0, p - t, -t - q) > 0
    u, v = torch.where(t > 0, t, 1 + t), torch.where(t > 0, 1 - t, -t)
    e = -torch.log(torch.where(left, u, v) / torch.where(left, p, q))
    return left, e, torch.where(left, -k, inverse), torch.where(left, q, p)


def _reference(t: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> Tensor:
    _, e, side, _ = _sides(t, asymmetry)
    return loc + scale * (side * e)


def _grad(t: Tensor, grad: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> tuple[Tensor, ...]:
    left, e, side, other = _sides(t, asymmetry)
    factor = torch.clamp(torch.where(left, scale, scale / asymmetry / asymmetry), 0.0, 1e37)
    return grad, grad * (side * e), -grad * (factor * (e + 2 * other))


def asymmetric_laplace_log_prob(x: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> Tensor:
    z = (x - loc) / scale
    e = torch.where(x < loc, -z / asymmetry, z * asymmetry)
    return -e - torch.log(scale) - torch.log(asymmetry + 1 / asymmetry)


def _log_density(t: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> Tensor:
    return -_sides(t, asymmetry)[1] - torch.log(scale) - torch.log(asymmetry + 1 / asymmetry)


def _log_density_grad(t: Tensor, grad: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> tuple[Tensor, ...]:
    unit = grad / asymmetry
    return torch.zeros_like(grad), -grad / scale, torch.where(_sides(t, asymmetry)[0], -unit, unit)


def _score(t: Tensor, grad: Tensor, loc: Tensor, scale: Tensor, asymmetry: Tensor) -> tuple[Tensor, ...]:
    left, e, side, other = _sides(t, asymmetry)
    unit, leaning = grad / scale, torch.where(left, 1 - 2 * other, 2 * other - 1)  # p - q
    return unit / side, unit * (e - 1), grad * (torch.where(left, e, -e) - leaning) / asymmetry


ASYMMETRIC_LAPLACE_MAP = Map(
    name="asymmetric_laplace",
    parameters=("loc", "scale", "asymmetry"),
    noise=CENTERED,
    reference=_reference,
    reference_grad=_grad,
    support=Support(-math.inf, math.inf),
    density=Density(
        at=asymmetric_laplace_log_prob, reference=_log_density, reference_grad=_log_density_grad, reference_score=_score
    ),
)
