"""Negative binomial: a Poisson count whose rate is standard gamma noise of `total_count` times the odds of success."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .law import Law
from .rejection.gamma import GAMMA
from .rejection.law import Part, first_of, noise_of
from .rejection.noise import LoopNoise
from .rejection.poisson import POISSON
from .support import FINITE

# Gamma noise takes streams 0 and 1.
_POISSON_STREAM = 2


def probs_scaled_odds(probs: Tensor, power: Tensor) -> Tensor:
    """The odds of success times exp(power)."""
    return probs / (1 - probs) * torch.exp(power)


def logits_scaled_odds(logits: Tensor, power: Tensor) -> Tensor:
    return torch.exp(logits + power)


def _noise(name: str, scaled_odds: Callable[[Tensor, Tensor], Tensor]) -> LoopNoise:
    def rate(noise: tuple[Tensor, Tensor], total_count: Tensor, chances: Tensor) -> tuple[Tensor]:
        ratio, power = noise
        # The ratio is infinite where the count of failures is 0.
        return (torch.where(total_count == 0, 0.0, total_count * ratio * scaled_odds(chances, power)),)

    return noise_of(name, 2, Part(GAMMA, first_of), Part(POISSON, rate, _POISSON_STREAM), values=1)


def negative_binomial_reference(count: Tensor, total_count: Tensor, chances: Tensor) -> Tensor:
    return count


NEGATIVE_BINOMIAL_PROBS_LAW = Law(
    name="negative_binomial_probs",
    parameters=("total_count", "probs"),
    noise=_noise("negative_binomial_probs", probs_scaled_odds),
    reference=negative_binomial_reference,
    support=FINITE,
)
NEGATIVE_BINOMIAL_LOGITS_LAW = Law(
    name="negative_binomial_logits",
    parameters=("total_count", "logits"),
    noise=_noise("negative_binomial_logits", logits_scaled_odds),
    reference=negative_binomial_reference,
    support=FINITE,
)
