"""Log-normal: exp(loc + scale * eps), eps standard normal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..stream.noise import NORMAL
from .law import Density, Law
from .normal import HALF_LOG_2_PI, normal_log_prob
from .support import POSITIVE


def log_normal_reference(eps: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return torch.exp(torch.addcmul(loc, scale, eps))


def log_normal_log_prob_reference(eps: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * eps * eps - HALF_LOG_2_PI - torch.log(scale) - torch.addcmul(loc, scale, eps)


def log_normal_reference_score(eps: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    unit = grad / scale
    return unit * eps, unit * (eps * eps - 1)


def log_normal_log_prob_at(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    y = torch.log(x)
    return normal_log_prob(y, loc, scale) - y


LOG_NORMAL_LAW = Law(
    name="log_normal",
    parameters=("loc", "scale"),
    noise=NORMAL,
    reference=log_normal_reference,
    support=POSITIVE,
    density=Density(
        at=log_normal_log_prob_at,
        reference=log_normal_log_prob_reference,
        reference_score=log_normal_reference_score,
    ),
)
