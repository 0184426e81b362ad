"""Weibull: scale * E**(1 / concentration), E standard exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..stream.noise import EXPONENTIAL
from .law import Density, Law
from .support import POSITIVE


def weibull_reference(x: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    return scale * torch.exp(torch.log(x) / concentration)


# By hand, as derived that of the sample is NaN where it underflows, 0 times infinity, and that of the log-density has a
# tenth more instructions.


def weibull_reference_grad(x: Tensor, grad: Tensor, scale: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    log_unit = torch.log(x) / concentration
    unit = grad * torch.exp(log_unit)
    # A tiny concentration makes it infinite; the sample is 0 long before.
    return unit, -unit * scale * torch.clamp(log_unit, -1e4, math.inf) / concentration


def weibull_log_prob_reference(x: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    log_x = torch.log(x)
    return torch.log(concentration / scale) + log_x - log_x / concentration - x


def weibull_log_prob_reference_grad(
    x: Tensor, grad: Tensor, scale: Tensor, concentration: Tensor
) -> tuple[Tensor, Tensor]:
    return -grad / scale, grad * (1 + torch.log(x) / concentration) / concentration


def weibull_reference_score(x: Tensor, grad: Tensor, scale: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    return grad * concentration * (x - 1) / scale, grad * (1 + torch.log(x) * (1 - x)) / concentration


def weibull_log_prob_at(x: Tensor, scale: Tensor, k: Tensor) -> Tensor:
    """log(k / scale) + (k - 1) log(z) - z**k, z = x / scale, where z**k under- or overflows, too."""
    log_z = torch.log(x) - torch.log(scale)
    return torch.log(k) - torch.log(scale) + (k - 1) * log_z - torch.exp(k * log_z)


WEIBULL_LAW = Law(
    name="weibull",
    parameters=("scale", "concentration"),
    noise=EXPONENTIAL,
    reference=weibull_reference,
    reference_grad=weibull_reference_grad,
    support=POSITIVE,
    density=Density(
        at=weibull_log_prob_at,
        reference=weibull_log_prob_reference,
        reference_grad=weibull_log_prob_reference_grad,
        reference_score=weibull_reference_score,
    ),
)
