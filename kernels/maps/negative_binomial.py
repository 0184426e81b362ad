"""Negative binomial: a Poisson count whose rate is standard gamma noise of `total_count` times the odds of success."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..devicemath import divide, exp
from ..language import tl, triton
from ..loops.gamma import gamma_noise, gamma_noise_device
from ..loops.noise import Blocks, LoopNoise
from ..loops.poisson import poisson_noise, poisson_noise_device
from .map import Map
from .support import FINITE

# Gamma noise takes streams 0 and 1.
_POISSON_STREAM = 2
_DEVICE_POISSON_STREAM = tl.constexpr(_POISSON_STREAM)


def probs_scaled_odds(probs: Tensor, power: Tensor) -> Tensor:
    """The odds of success times exp(power)."""
    return probs / (1 - probs) * torch.exp(power)


def logits_scaled_odds(logits: Tensor, power: Tensor) -> Tensor:
    return torch.exp(logits + power)


def _noise(scaled_odds: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor]]:
    def noise(blocks: Blocks, total_count: Tensor, chances: Tensor, dtype: torch.dtype) -> tuple[Tensor]:
        ratio, power = gamma_noise(blocks, total_count, dtype)
        # The ratio is infinite where the count of failures is 0.
        rate = torch.where(total_count == 0, 0.0, total_count * ratio * scaled_odds(chances, power))
        return (poisson_noise(blocks, rate, dtype, _POISSON_STREAM),)

    return noise


def negative_binomial_reference(count: Tensor, total_count: Tensor, chances: Tensor) -> Tensor:
    return count


@triton.jit
def _count(c0, c1, k0, k1, total_count, ratio, scaled_odds, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    rate = tl.where(total_count == 0, 0.0, total_count * ratio * scaled_odds)
    return (poisson_noise_device(c0, c1, k0, k1, rate, _DEVICE_POISSON_STREAM, DTYPE, HARDWARE),)


@triton.jit
def _probs_noise_device(c0, c1, k0, k1, total_count, probs, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    ratio, power = gamma_noise_device(c0, c1, k0, k1, total_count, 0, DTYPE, HARDWARE)
    scaled_odds = divide(probs, 1.0 - probs, HARDWARE) * exp(power, HARDWARE)
    return _count(c0, c1, k0, k1, total_count, ratio, scaled_odds, DTYPE, HARDWARE)


@triton.jit
def _logits_noise_device(c0, c1, k0, k1, total_count, logits, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    ratio, power = gamma_noise_device(c0, c1, k0, k1, total_count, 0, DTYPE, HARDWARE)
    scaled_odds = exp(logits + power, HARDWARE)
    return _count(c0, c1, k0, k1, total_count, ratio, scaled_odds, DTYPE, HARDWARE)


@triton.jit
def negative_binomial_transform(count, total_count, chances, HARDWARE: tl.constexpr):
    return count


NEGATIVE_BINOMIAL_PROBS_MAP = Map(
    name="negative_binomial_probs",
    parameters=("total_count", "probs"),
    noise=LoopNoise("negative_binomial_probs", 1, _noise(probs_scaled_odds), _probs_noise_device),
    reference=negative_binomial_reference,
    support=FINITE,
    transform=negative_binomial_transform,
)
NEGATIVE_BINOMIAL_LOGITS_MAP = Map(
    name="negative_binomial_logits",
    parameters=("total_count", "logits"),
    noise=LoopNoise("negative_binomial_logits", 1, _noise(logits_scaled_odds), _logits_noise_device),
    reference=negative_binomial_reference,
    support=FINITE,
    transform=negative_binomial_transform,
)
