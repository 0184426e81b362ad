"""Binomial noise: how many of n trials have the rarer of two outcomes, whose probability p is at most 1/2.

For n p below 10 it is the second waiting time method of Devroye, "Non-Uniform Random Variate Generation" (1986), X.4.3:
the count of the partial sums of E_i / (1 - (i - 1) / n), E_i standard exponential, up to -n log(1 - p). From 10 on it
is made by the transformed rejection BTRS of Hörmann, "The generation of binomial random variates" (1993), as counts.py
has it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .counts import LARGE_MEAN, SQRT_2_PI, Hat, at_least_one, deviance, stirling, transformed
from .law import Arrivals, RejectionLaw, centered_candidates


def rarer_of_probs(probs: Tensor) -> tuple[Tensor, Tensor]:
    """The probability p of the rarer outcome, and -log(1 - p)."""
    rarer = torch.where(probs > 0.5, 1 - probs, probs)
    return rarer, -torch.log1p(-rarer)


def rarer_of_logits(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The same without the rounding of a probability next to 1."""
    odds = torch.exp(-torch.abs(logits))
    return odds / (1 + odds), torch.log1p(odds)


def binomial_hat(n: Tensor, mean: Tensor, p: Tensor) -> Hat:
    b = 1.15 + 2.53 * torch.sqrt(mean * (1 - p))
    a = -0.0873 + 0.0248 * b + 0.01 * p
    # The mass is within the bound at every n p >= 10, p <= 1/2. His is 2% larger, and wants the mass of the mode.
    return mean + 0.5, a, b, 1.126 * SQRT_2_PI + 1.8 * SQRT_2_PI / b


def binomial_mass(k: Tensor, n: Tensor, mean: Tensor, p: Tensor) -> Tensor:
    """sqrt(2 pi) times the probability of k."""
    left, difference = n - k, k - mean
    logarithm = stirling(n) - stirling(k) - stirling(left)
    logarithm = logarithm - deviance(k, mean, difference) - deviance(left, n - mean, -difference)
    mass = torch.exp(logarithm) * torch.sqrt(n / at_least_one(left) / at_least_one(k))
    return torch.where((k < 0) | (left < 0), 0.0, mass)


def _setup(n: Tensor, p: Tensor, hazard: Tensor) -> tuple[Tensor, ...]:
    return n, n * p, p, n * hazard


def _attempt(t: Tensor, v: Tensor, n: Tensor, mean: Tensor, p: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    return transformed(t, v, binomial_hat(n, mean, p), lambda k: binomial_mass(k, n, mean, p))


def _occur(
    e: tuple[Tensor, ...], time: Tensor, count: Tensor, n: Tensor, mean: Tensor, p: Tensor, limit: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    left, inverse = n - count, 1 / n
    for each in e:
        # Infinite when no trial is left.
        time = time + each / torch.where(left > 0, left * inverse, 0.0)
        left = left - 1
        count = count + (time <= limit).to(n.dtype)
    return time, count, time <= limit


BINOMIAL = RejectionLaw(
    name="binomial",
    parameters=3,
    setup=_setup,
    candidates=centered_candidates,
    attempt=_attempt,
    arrivals=Arrivals(few=lambda n, mean, p, limit: mean < LARGE_MEAN, step=_occur),
)
