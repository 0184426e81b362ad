"""Relaxed Bernoulli: sigmoid(y), y = (logits + e) / temperature, e standard logistic; and y itself.

Source: Maddison, Mnih and Teh, "The Concrete Distribution" (2017), appendix B, "the binary special case".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..stream.noise import CENTERED
from .law import Density, Law
from .logistic import logistic_log_prob, standard_logistic, standard_logistic_log_density, standard_logistic_slope
from .support import REAL_LINE, UNIT_INTERVAL


def log_odds(probs: Tensor) -> Tensor:
    return torch.log(probs) - torch.log1p(-probs)


def log_odds_slope(probs: Tensor) -> Tensor:
    # Finite at 0 and 1, where the derivative of what is squashed is 0, and their product with it.
    return torch.reciprocal(torch.clamp(probs * (1 - probs), 1e-37, math.inf))


def identity(logits: Tensor) -> Tensor:
    return logits


def one(logits: Tensor) -> Tensor:
    return torch.ones_like(logits)


def _relaxed_bernoulli_law(
    name: str,
    parameter: str,
    logits_of: Callable[[Tensor], Tensor],
    slope_of: Callable[[Tensor], Tensor],
    squashed: bool,
) -> Law:
    """The law of one parameter, whose log-odds and their slope are given, to y or to sigmoid(y)."""

    def logit(t: Tensor, temperature: Tensor, p: Tensor) -> Tensor:
        return (logits_of(p) + standard_logistic(t)) / temperature

    def reference(t: Tensor, temperature: Tensor, p: Tensor) -> Tensor:
        y = logit(t, temperature, p)
        return torch.reciprocal(1 + torch.exp(-y)) if squashed else y

    def reference_grad(t: Tensor, grad: Tensor, temperature: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        # Derived it would be NaN where the exponential overflows.
        y = logit(t, temperature, p)
        if squashed:
            w = torch.exp(-torch.abs(y))
            grad = grad * (w / ((1 + w) * (1 + w)))
            # It is infinite where probs is 0 or 1, or the temperature tiny; the slope is 0 long before.
            y = torch.clamp(y, -1e4, 1e4)
        unit = grad / temperature
        return -unit * y, unit * slope_of(p)

    def log_prob(t: Tensor, temperature: Tensor, p: Tensor) -> Tensor:
        of_logit = torch.log(temperature) + standard_logistic_log_density(t)
        if not squashed:
            return of_logit
        y = torch.abs(logit(t, temperature, p))
        # -log(sigmoid(y) sigmoid(-y))
        return of_logit + y + 2 * torch.log1p(torch.exp(-y))

    def score(t: Tensor, grad: Tensor, temperature: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        # The log-density of y is that of the logistic noise e = temperature y - logits.
        slope = grad * standard_logistic_slope(t)
        return grad / temperature + slope * logit(t, temperature, p), -slope * slope_of(p)

    def at(x: Tensor, temperature: Tensor, p: Tensor) -> Tensor:
        y = torch.logit(x) if squashed else x
        of_logit = torch.log(temperature) + logistic_log_prob(temperature * y - logits_of(p))
        return of_logit - torch.log(x) - torch.log1p(-x) if squashed else of_logit

    return Law(
        name=name,
        parameters=("temperature", parameter),
        noise=CENTERED,
        reference=reference,
        reference_grad=reference_grad,
        support=UNIT_INTERVAL if squashed else REAL_LINE,
        density=Density(
            at=at,
            reference=log_prob,
            reference_score=score,
        ),
    )


_PROBS = ("probs", log_odds, log_odds_slope)
_LOGITS = ("logits", identity, one)

RELAXED_BERNOULLI_PROBS_LAW = _relaxed_bernoulli_law("relaxed_bernoulli_probs", *_PROBS, squashed=True)
RELAXED_BERNOULLI_LOGITS_LAW = _relaxed_bernoulli_law("relaxed_bernoulli_logits", *_LOGITS, squashed=True)
LOGIT_RELAXED_BERNOULLI_PROBS_LAW = _relaxed_bernoulli_law("logit_relaxed_bernoulli_probs", *_PROBS, squashed=False)
LOGIT_RELAXED_BERNOULLI_LOGITS_LAW = _relaxed_bernoulli_law("logit_relaxed_bernoulli_logits", *_LOGITS, squashed=False)
