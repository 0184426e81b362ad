"""Johnson's SU: loc + scale * sinh((z - skewness) / tailweight), z standard normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..noise import NORMAL
from ..special import log1p_of_square
from .map import Density, Map
from .normal import HALF_LOG_2_PI
from .support import Support


def _hyperbolic(y: Tensor) -> tuple[Tensor, Tensor]:
    """(sinh(y), cosh(y)), infinite where they overflow."""
    e = torch.expm1(torch.abs(y))
    below = torch.clamp(e, 0.0, 1e30)
    below = below / (below + 1)
    return torch.copysign(0.5 * (e + below), y), 0.5 * (2 + e - below)


def _reference(z: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return loc + scale * _hyperbolic((z - skewness) / tailweight)[0]


def _grad(z: Tensor, grad: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor) -> tuple:
    y = (z - skewness) / tailweight
    sine, cosine = _hyperbolic(y)
    slope = -grad * (scale * cosine)
    return slope / tailweight, slope * (y / tailweight), grad, grad * sine


def johnson_su_log_prob(x: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    u = (x - loc) / scale
    z = skewness + tailweight * torch.asinh(u)
    return torch.log(tailweight) - torch.log(scale) - HALF_LOG_2_PI - 0.5 * z * z - 0.5 * log1p_of_square(u)


def _log_density(z: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    y = torch.abs((z - skewness) / tailweight)
    log_cosh = y + torch.log1p(torch.exp(-2 * y)) - math.log(2)
    return torch.log(tailweight) - torch.log(scale) - HALF_LOG_2_PI - 0.5 * z * z - log_cosh


def _log_density_grad(
    z: Tensor, grad: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor
) -> tuple:
    y, unit = (z - skewness) / tailweight, grad / tailweight
    tangent = torch.tanh(y)
    return unit * tangent, unit * (1 + tangent * y), torch.zeros_like(grad), -grad / scale


def _score(z: Tensor, grad: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor) -> tuple:
    y = (z - skewness) / tailweight
    unit, tangent, e = grad / scale, torch.tanh(y), torch.exp(-torch.abs(y))
    pull = z * tailweight + tangent
    return -grad * z, grad * (1 / tailweight - z * y), unit * pull * (2 * e / (1 + e * e)), unit * (tangent * pull - 1)


JOHNSON_SU_MAP = Map(
    name="johnson_su",
    parameters=("skewness", "tailweight", "loc", "scale"),
    noise=NORMAL,
    reference=_reference,
    reference_grad=_grad,
    support=Support(-math.inf, math.inf),
    density=Density(
        at=johnson_su_log_prob, reference=_log_density, reference_grad=_log_density_grad, reference_score=_score
    ),
)
