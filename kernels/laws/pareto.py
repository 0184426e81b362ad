"""Pareto: scale * exp(E / alpha), E standard exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..stream.noise import COARSE_EXPONENTIAL
from .law import Density, Law
from .support import Support


def pareto_reference(x: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    # No sample is less than scale, which the rounding of a GPU's exponential does not promise.
    return scale * torch.clamp(torch.exp(x / alpha), 1.0, math.inf)


# By hand, an eighth fewer instructions than derived: those have to find out where the bound above has held.


def pareto_reference_grad(x: Tensor, grad: Tensor, scale: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    log_unit = x / alpha
    unit = grad * torch.exp(log_unit)
    return unit, -unit * scale * log_unit / alpha


def pareto_log_prob_reference(x: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    return torch.log(alpha / scale) - x - x / alpha


def pareto_log_prob_reference_grad(x: Tensor, grad: Tensor, scale: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    return -grad / scale, grad * (1 + x / alpha) / alpha


def pareto_reference_score(x: Tensor, grad: Tensor, scale: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    return grad * alpha / scale, grad * (1 - x) / alpha


PARETO_LAW = Law(
    name="pareto",
    parameters=("scale", "alpha"),
    noise=COARSE_EXPONENTIAL,
    reference=pareto_reference,
    reference_grad=pareto_reference_grad,
    support=Support(None, math.inf),
    density=Density(
        at=lambda x, scale, alpha: torch.distributions.Pareto(scale, alpha, validate_args=False).log_prob(x),
        reference=pareto_log_prob_reference,
        reference_grad=pareto_log_prob_reference_grad,
        reference_score=pareto_reference_score,
    ),
)
