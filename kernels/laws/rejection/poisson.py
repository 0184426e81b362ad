"""Poisson noise: a count whose mean is a rate.

For rates below 10 it is the number of arrivals of a Poisson process by that time, exact in both tails. From 10 on it is
made by Hörmann's transformed rejection PTRS (1993), see counts.py; he finds the constants of the hat.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .counts import LARGE_MEAN, SQRT_2_PI, Hat, at_least_one, deviance, stirling, transformed
from .law import Arrivals, RejectionLaw, centered_candidates


def poisson_hat(rate: Tensor) -> Hat:
    b = 0.931 + 2.53 * torch.sqrt(rate)
    a = -0.059 + 0.02483 * b
    # The bound is slightly larger than his, which the mass exceeds by up to 0.5% at some rates below 300.
    return rate + 0.43, a, b, 1.128 * SQRT_2_PI + 1.17 * SQRT_2_PI / (b - 3.4)


def poisson_mass(k: Tensor, rate: Tensor) -> Tensor:
    """sqrt(2 pi) times the probability of k."""
    mass = torch.exp(-stirling(k) - deviance(k, rate, k - rate)) / torch.sqrt(at_least_one(k))
    return torch.where(k < 0, 0.0, mass)


def _attempt(t: Tensor, v: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    return transformed(t, v, poisson_hat(rate), functools.partial(poisson_mass, rate=rate))


def _arrive(e: tuple[Tensor, ...], time: Tensor, count: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    for each in e:
        time = time + each
        count = count + (time <= rate).to(rate.dtype)
    return time, count, time <= rate


POISSON = RejectionLaw(
    name="poisson",
    parameters=1,
    setup=lambda rate: (rate,),
    candidates=centered_candidates,
    attempt=_attempt,
    finish=lambda count, rate: (torch.where(rate < math.inf, count, rate),),
    arrivals=Arrivals(few=lambda rate: rate < LARGE_MEAN, step=_arrive),
)
