"""Exponential: E / rate, E standard exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..stream.noise import COARSE_EXPONENTIAL
from .law import Density, Law
from .support import Support


def exponential_reference(x: Tensor, rate: Tensor) -> Tensor:
    return x / rate


def exponential_log_prob_reference(x: Tensor, rate: Tensor) -> Tensor:
    return torch.log(rate) - x


def exponential_reference_score(x: Tensor, grad: Tensor, rate: Tensor) -> tuple[Tensor]:
    return (grad * (1 - x) / rate,)


EXPONENTIAL_LAW = Law(
    name="exponential",
    parameters=("rate",),
    noise=COARSE_EXPONENTIAL,
    reference=exponential_reference,
    support=Support(0.0, math.inf, float16_only=True),
    density=Density(
        at=lambda x, rate: torch.distributions.Exponential(rate, validate_args=False).log_prob(x),
        reference=exponential_log_prob_reference,
        reference_score=exponential_reference_score,
    ),
)
