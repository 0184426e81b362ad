"""Binomial noise: how many of n trials have the rarer of two outcomes, whose probability p is at most 1/2.

For n p below 10 it is the second waiting time method of Devroye, "Non-Uniform Random Variate Generation" (1986), X.4.3:
the count of the partial sums of E_i / (1 - (i - 1) / n), E_i standard exponential, up to -n log(1 - p). From 10 on it
is made by the transformed rejection BTRS of Hörmann, "The generation of binomial random variates" (1993), as counts.py
has it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..devicemath import divide, exp, log1p
from ..language import tl, triton
from .counts import (
    DEVICE_LARGE_MEAN,
    LARGE_MEAN,
    SQRT_2_PI,
    Hat,
    deviance,
    deviance_device,
    exponentials,
    exponentials_device,
    stirling,
    stirling_device,
    transformed_rejection,
    transformed_rejection_device,
)
from .noise import Blocks, any_of

_DEVICE_SQRT_2_PI = tl.constexpr(SQRT_2_PI)


def rarer_of_probs(probs: Tensor) -> tuple[Tensor, Tensor]:
    """The probability p of the rarer outcome, and -log(1 - p)."""
    rarer = torch.where(probs > 0.5, 1 - probs, probs)
    return rarer, -torch.log1p(-rarer)


def rarer_of_logits(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The same without the rounding of a probability next to 1."""
    odds = torch.exp(-torch.abs(logits))
    return odds / (1 + odds), torch.log1p(odds)


def binomial_noise(
    blocks: Blocks, total_count: Tensor, rarer: tuple[Tensor, Tensor], dtype: torch.dtype, stream: int = 0
) -> Tensor:
    """The count of each element."""
    p, hazard = rarer
    mean, limit, inverse = total_count * p, total_count * hazard, 1 / total_count
    count, elapsed = torch.zeros_like(mean), torch.zeros_like(mean)
    small = mean < LARGE_MEAN
    pending, attempt = small.nonzero().squeeze(1), 0
    while pending.numel() > 0:
        time, occurred, until = elapsed[pending], count[pending], limit[pending]
        left = total_count[pending] - occurred
        for e in exponentials(blocks[pending], attempt, stream, dtype):
            # Infinite when no trial is left.
            time = time + e / torch.where(left > 0, left * inverse[pending], 0.0)
            left = left - 1
            occurred = occurred + (time <= until).to(mean.dtype)
        elapsed[pending], count[pending] = time, occurred
        pending = pending[time <= until]
        attempt += 1
    large = torch.logical_not(small).nonzero().squeeze(1)
    transformed_rejection(blocks, large, count, binomial_hat, binomial_mass, (total_count, mean, p), dtype, stream)
    return count


def binomial_hat(n: Tensor, mean: Tensor, p: Tensor) -> Hat:
    b = 1.15 + 2.53 * torch.sqrt(mean * (1 - p))
    a = -0.0873 + 0.0248 * b + 0.01 * p
    # The mass is within the bound at every n p >= 10, p <= 1/2. His is 2% larger, and wants the mass of the mode.
    return mean + 0.5, a, b, SQRT_2_PI * (1.126 + 1.8 / b)


def binomial_mass(k: Tensor, n: Tensor, mean: Tensor, p: Tensor) -> Tensor:
    """sqrt(2 pi) times the probability of k."""
    left, difference = n - k, k - mean
    logarithm = stirling(n) - stirling(k) - stirling(left)
    logarithm = logarithm - deviance(k, mean, difference) - deviance(left, n - mean, -difference)
    mass = torch.exp(logarithm) * torch.sqrt(n / torch.where(left < 1, 1.0, left) / torch.where(k < 1, 1.0, k))
    return torch.where(torch.minimum(k, left) < 0, 0.0, mass)


@triton.jit
def rarer_of_probs_device(probs, HARDWARE: tl.constexpr):
    rarer = tl.where(probs > 0.5, 1.0 - probs, probs)
    return rarer, -log1p(-rarer, HARDWARE)


@triton.jit
def rarer_of_logits_device(logits, HARDWARE: tl.constexpr):
    odds = exp(-tl.abs(logits), HARDWARE)
    return divide(odds, 1.0 + odds, HARDWARE), log1p(odds, HARDWARE)


@triton.jit
def binomial_hat_device(mean, p, HARDWARE: tl.constexpr):
    b = 2.53 * tl.sqrt(mean * (1.0 - p)) + 1.15
    bound = divide(tl.full(b.shape, 1.8 * _DEVICE_SQRT_2_PI, b.dtype), b, HARDWARE) + 1.126 * _DEVICE_SQRT_2_PI
    return mean + 0.5, 0.0248 * b + (0.01 * p - 0.0873), b, bound


@triton.jit
def binomial_mass_device(k, n, mean, HARDWARE: tl.constexpr):
    left = n - k
    difference = k - mean
    logarithm = stirling_device(n, HARDWARE) - stirling_device(k, HARDWARE) - stirling_device(left, HARDWARE)
    logarithm -= deviance_device(k, mean, difference, HARDWARE)
    logarithm -= deviance_device(left, n - mean, -difference, HARDWARE)
    square = divide(divide(n, tl.where(left < 1.0, 1.0, left), HARDWARE), tl.where(k < 1.0, 1.0, k), HARDWARE)
    return tl.where((k < 0.0) | (left < 0.0), 0.0, exp(logarithm, HARDWARE) * tl.sqrt(square))


@triton.jit
def binomial_noise_device(
    c0, c1, k0, k1, total_count, p, hazard, STREAM: tl.constexpr, DTYPE: tl.constexpr, HARDWARE: tl.constexpr
):
    """Device twin of :func:`binomial_noise`."""
    mean = total_count * p
    small = mean < DEVICE_LARGE_MEAN
    count, elapsed = tl.zeros_like(mean), tl.zeros_like(mean)
    left = total_count
    limit = total_count * hazard
    inverse = divide(tl.full(mean.shape, 1.0, mean.dtype), total_count, HARDWARE)
    pending = small
    t = tl.full((), 0, tl.uint32)
    while any_of(pending):
        e = exponentials_device(c0, c1, t, STREAM, k0, k1, DTYPE, HARDWARE)
        for j in tl.static_range(len(e)):
            elapsed += divide(e[j], tl.where(left > 0, left * inverse, 0.0), HARDWARE)
            left -= 1.0
            count += (elapsed <= limit).to(mean.dtype)
        pending = pending & (elapsed <= limit)
        t += 1
    large = transformed_rejection_device(
        ~small,
        binomial_hat_device(mean, p, HARDWARE),
        binomial_mass_device,
        (total_count, mean),
        c0,
        c1,
        k0,
        k1,
        STREAM,
        DTYPE,
        HARDWARE,
    )
    return tl.where(small, count, large)
