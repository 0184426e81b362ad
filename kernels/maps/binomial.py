"""Binomial: k or n - k, from probs or from logits; the noise k counts the rarer of success and failure."""

from __future__ import annotations

import torch
from torch import Tensor

from ..language import tl, triton
from ..loops.binomial import (
    binomial_noise,
    binomial_noise_device,
    rarer_of_logits,
    rarer_of_logits_device,
    rarer_of_probs,
    rarer_of_probs_device,
)
from ..loops.noise import Blocks, LoopNoise
from .map import Map
from .support import FINITE


def _probs_noise(blocks: Blocks, total_count: Tensor, probs: Tensor, dtype: torch.dtype) -> tuple[Tensor]:
    return (binomial_noise(blocks, total_count, rarer_of_probs(probs), dtype),)


def _logits_noise(blocks: Blocks, total_count: Tensor, logits: Tensor, dtype: torch.dtype) -> tuple[Tensor]:
    return (binomial_noise(blocks, total_count, rarer_of_logits(logits), dtype),)


def binomial_probs_reference(count: Tensor, total_count: Tensor, probs: Tensor) -> Tensor:
    return torch.where(probs > 0.5, total_count - count, count)


def binomial_logits_reference(count: Tensor, total_count: Tensor, logits: Tensor) -> Tensor:
    return torch.where(logits > 0, total_count - count, count)


@triton.jit
def _probs_noise_device(c0, c1, k0, k1, total_count, probs, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    p, hazard = rarer_of_probs_device(probs, HARDWARE)
    return (binomial_noise_device(c0, c1, k0, k1, total_count, p, hazard, 0, DTYPE, HARDWARE),)


@triton.jit
def _logits_noise_device(c0, c1, k0, k1, total_count, logits, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    p, hazard = rarer_of_logits_device(logits, HARDWARE)
    return (binomial_noise_device(c0, c1, k0, k1, total_count, p, hazard, 0, DTYPE, HARDWARE),)


@triton.jit
def binomial_probs_transform(count, total_count, probs, HARDWARE: tl.constexpr):
    return tl.where(probs > 0.5, total_count - count, count)


@triton.jit
def binomial_logits_transform(count, total_count, logits, HARDWARE: tl.constexpr):
    return tl.where(logits > 0, total_count - count, count)


BINOMIAL_PROBS_MAP = Map(
    name="binomial_probs",
    parameters=("total_count", "probs"),
    noise=LoopNoise("binomial_probs", 1, _probs_noise, _probs_noise_device),
    reference=binomial_probs_reference,
    support=FINITE,
    transform=binomial_probs_transform,
)
BINOMIAL_LOGITS_MAP = Map(
    name="binomial_logits",
    parameters=("total_count", "logits"),
    noise=LoopNoise("binomial_logits", 1, _logits_noise, _logits_noise_device),
    reference=binomial_logits_reference,
    support=FINITE,
    transform=binomial_logits_transform,
)
