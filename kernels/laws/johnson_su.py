"""Johnson's SU: loc + scale * sinh((z - skewness) / tailweight), z standard normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formula.special import log1p_of_square
from ..stream.noise import NORMAL
from .law import Density, Law
from .normal import HALF_LOG_2_PI
from .support import Support


def _reference(z: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    y = (z - skewness) / tailweight
    e = torch.expm1(torch.abs(y))
    below = torch.clamp(e, 0.0, 1e30)
    return loc + scale * torch.copysign(0.5 * (e + below / (below + 1)), y)


def _log_density(z: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    y = torch.abs((z - skewness) / tailweight)
    log_cosh = y + torch.log1p(torch.exp(-2 * y)) - math.log(2)
    return torch.log(tailweight) - torch.log(scale) - HALF_LOG_2_PI - 0.5 * z * z - log_cosh


def johnson_su_log_prob(x: Tensor, skewness: Tensor, tailweight: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    u = (x - loc) / scale
    z = skewness + tailweight * torch.asinh(u)
    return torch.log(tailweight) - torch.log(scale) - HALF_LOG_2_PI - 0.5 * z * z - 0.5 * log1p_of_square(u)


JOHNSON_SU_LAW = Law(
    name="johnson_su",
    parameters=("skewness", "tailweight", "loc", "scale"),
    noise=NORMAL,
    reference=_reference,
    support=Support(-math.inf, math.inf),
    density=Density(at=johnson_su_log_prob, reference=_log_density),
)
