"""Poisson noise: a count whose mean is a rate.

For rates below 10 it is the number of arrivals of a Poisson process by that time, exact in both tails. From 10 on it is
made by Hörmann's transformed rejection PTRS (1993), see counts.py; he finds the constants of the hat.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..devicemath import divide, exp
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


def poisson_noise(blocks: Blocks, rate: Tensor, dtype: torch.dtype, stream: int = 0) -> Tensor:
    """The count of each element."""
    count, elapsed = torch.zeros_like(rate), torch.zeros_like(rate)
    small = rate < LARGE_MEAN
    pending, attempt = small.nonzero().squeeze(1), 0
    while pending.numel() > 0:
        of_pending = rate[pending]
        time, arrived = elapsed[pending], count[pending]
        for e in exponentials(blocks[pending], attempt, stream, dtype):
            time = time + e
            arrived = arrived + (time <= of_pending).to(rate.dtype)
        elapsed[pending], count[pending] = time, arrived
        pending = pending[time <= of_pending]
        attempt += 1
    large = torch.logical_not(small).nonzero().squeeze(1)
    transformed_rejection(blocks, large, count, poisson_hat, poisson_mass, (rate,), dtype, stream)
    return torch.where(rate < math.inf, count, rate)


def poisson_hat(rate: Tensor) -> Hat:
    b = 0.931 + 2.53 * torch.sqrt(rate)
    a = -0.059 + 0.02483 * b
    # The bound is slightly larger than his, which the mass exceeds by up to 0.5% at some rates below 300.
    return rate + 0.43, a, b, SQRT_2_PI * (1.128 + 1.17 / (b - 3.4))


def poisson_mass(k: Tensor, rate: Tensor) -> Tensor:
    """sqrt(2 pi) times the probability of k."""
    mass = torch.exp(-stirling(k) - deviance(k, rate, k - rate)) / torch.sqrt(torch.where(k < 1, 1.0, k))
    return torch.where(k < 0, 0.0, mass)


@triton.jit
def poisson_hat_device(rate, HARDWARE: tl.constexpr):
    b = 2.53 * tl.sqrt(rate) + 0.931
    bound = divide(tl.full(b.shape, 1.17 * _DEVICE_SQRT_2_PI, b.dtype), b - 3.4, HARDWARE) + 1.128 * _DEVICE_SQRT_2_PI
    return rate + 0.43, 0.02483 * b - 0.059, b, bound


@triton.jit
def poisson_mass_device(k, rate, HARDWARE: tl.constexpr):
    root = tl.sqrt(tl.where(k < 1.0, 1.0, k))
    logarithm = -stirling_device(k, HARDWARE) - deviance_device(k, rate, k - rate, HARDWARE)
    return tl.where(k < 0.0, 0.0, divide(exp(logarithm, HARDWARE), root, HARDWARE))


@triton.jit
def poisson_noise_device(c0, c1, k0, k1, rate, STREAM: tl.constexpr, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Device twin of :func:`poisson_noise`."""
    small = rate < DEVICE_LARGE_MEAN
    count, elapsed = tl.zeros_like(rate), tl.zeros_like(rate)
    pending = small
    t = tl.full((), 0, tl.uint32)
    while any_of(pending):
        e = exponentials_device(c0, c1, t, STREAM, k0, k1, DTYPE, HARDWARE)
        for j in tl.static_range(len(e)):
            elapsed += e[j]
            count += (elapsed <= rate).to(rate.dtype)
        pending = pending & (elapsed <= rate)
        t += 1
    large = transformed_rejection_device(
        ~small,
        poisson_hat_device(rate, HARDWARE),
        poisson_mass_device,
        (rate,),
        c0,
        c1,
        k0,
        k1,
        STREAM,
        DTYPE,
        HARDWARE,
    )
    return tl.where(small, count, tl.where(rate < float("inf"), large, rate))
