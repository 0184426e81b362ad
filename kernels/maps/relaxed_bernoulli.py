"""Relaxed Bernoulli: sigmoid(y), y = (logits + e) / temperature, e standard logistic; and y itself.

Source: Maddison, Mnih and Teh, "The Concrete Distribution" (2017), appendix B, "the binary special case".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..devicemath import divide, exp, log, log1p
from ..language import bind, tl, triton
from ..noise import CENTERED
from .bernoulli import sigmoid
from .logistic import (
    logistic_log_prob,
    standard_logistic,
    standard_logistic_device,
    standard_logistic_log_density,
    standard_logistic_log_density_device,
    standard_logistic_slope,
    standard_logistic_slope_device,
)
from .map import Density, Map
from .support import REAL_LINE, UNIT_INTERVAL


def log_odds(probs: Tensor) -> Tensor:
    return torch.log(probs) - torch.log1p(-probs)


def log_odds_slope(probs: Tensor) -> Tensor:
    # Finite at 0 and 1, where the derivative of what is squashed is 0, and their product with it.
    return torch.reciprocal(torch.clamp(probs * (1 - probs), 1e-37, 1.0))


def identity(logits: Tensor) -> Tensor:
    return logits


def one(logits: Tensor) -> Tensor:
    return torch.ones_like(logits)


@triton.jit
def log_odds_device(probs, HARDWARE: tl.constexpr):
    return log(probs, HARDWARE) - log1p(-probs, HARDWARE)


@triton.jit
def log_odds_slope_device(probs, HARDWARE: tl.constexpr):
    return divide(tl.full((), 1.0, probs.dtype), tl.maximum(probs * (1.0 - probs), 1e-37), HARDWARE)


@triton.jit
def identity_device(logits, HARDWARE: tl.constexpr):
    return logits


@triton.jit
def one_device(logits, HARDWARE: tl.constexpr):
    return tl.full((), 1.0, logits.dtype)


# Templates of device functions; a map gives these names their meaning.
logits_of: Any = None
slope_of: Any = None
logit: Any = None
SQUASHED: Any = None


def _logit_device(t, temperature, p, HARDWARE: tl.constexpr):
    return divide(logits_of(p, HARDWARE) + standard_logistic_device(t, HARDWARE), temperature, HARDWARE)


def _transform(t, temperature, p, HARDWARE: tl.constexpr):
    y = logit(t, temperature, p, HARDWARE)
    if SQUASHED:
        return sigmoid(y, HARDWARE)
    else:
        return y


def _transform_grad(t, grad, temperature, p, HARDWARE: tl.constexpr):
    y = logit(t, temperature, p, HARDWARE)
    if SQUASHED:
        w = exp(-tl.abs(y), HARDWARE)
        grad = grad * divide(w, (1.0 + w) * (1.0 + w), HARDWARE)
        y = tl.minimum(tl.maximum(y, -1e4), 1e4)
    unit = divide(grad, temperature, HARDWARE)
    return -unit * y, unit * slope_of(p, HARDWARE)


def _log_prob(t, temperature, p, HARDWARE: tl.constexpr):
    result = log(temperature, HARDWARE) + standard_logistic_log_density_device(t, HARDWARE)
    if SQUASHED:
        y = tl.abs(logit(t, temperature, p, HARDWARE))
        result += tl.fma(log1p(exp(-y, HARDWARE), HARDWARE), 2.0, y)
    return result


def _log_prob_grad(t, grad, temperature, p, HARDWARE: tl.constexpr):
    unit = divide(grad, temperature, HARDWARE)
    if SQUASHED:
        y = logit(t, temperature, p, HARDWARE)
        # tanh(y / 2)
        grad_y = unit * (2.0 * sigmoid(y, HARDWARE) - 1.0)
        return unit - grad_y * y, grad_y * slope_of(p, HARDWARE)
    else:
        return unit, tl.zeros_like(grad)


def _score(t, grad, temperature, p, HARDWARE: tl.constexpr):
    slope = grad * standard_logistic_slope_device(t, HARDWARE)
    unit = divide(grad, temperature, HARDWARE)
    return tl.fma(slope, logit(t, temperature, p, HARDWARE), unit), -slope * slope_of(p, HARDWARE)


def _relaxed_bernoulli_map(
    name: str,
    parameter: str,
    logits_of: Callable[[Tensor], Tensor],
    slope_of: Callable[[Tensor], Tensor],
    logits_of_device: Any,
    slope_of_device: Any,
    squashed: bool,
) -> Map:
    """The map of one parameter, whose log-odds and their slope are given, to y or to sigmoid(y)."""
    names: dict[str, Any] = {"slope_of": slope_of_device, "SQUASHED": tl.constexpr(squashed)}
    names["logit"] = bind(_logit_device, logits_of=logits_of_device)

    def logit(t: Tensor, temperature: Tensor, p: Tensor) -> Tensor:
        return (logits_of(p) + standard_logistic(t)) / temperature

    def reference(t: Tensor, temperature: Tensor, p: Tensor) -> Tensor:
        y = logit(t, temperature, p)
        return torch.reciprocal(1 + torch.exp(-y)) if squashed else y

    def reference_grad(t: Tensor, grad: Tensor, temperature: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
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

    def log_prob_grad(t: Tensor, grad: Tensor, temperature: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        unit = grad / temperature
        if not squashed:
            return unit, torch.zeros_like(grad)
        y = logit(t, temperature, p)
        grad_y = unit * torch.tanh(0.5 * y)
        return unit - grad_y * y, grad_y * slope_of(p)

    def score(t: Tensor, grad: Tensor, temperature: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        # The log-density of y is that of the logistic noise e = temperature y - logits.
        slope = grad * standard_logistic_slope(t)
        return grad / temperature + slope * logit(t, temperature, p), -slope * slope_of(p)

    def at(x: Tensor, temperature: Tensor, p: Tensor) -> Tensor:
        y = torch.logit(x) if squashed else x
        of_logit = torch.log(temperature) + logistic_log_prob(temperature * y - logits_of(p))
        return of_logit - torch.log(x) - torch.log1p(-x) if squashed else of_logit

    return Map(
        name=name,
        parameters=("temperature", parameter),
        noise=CENTERED,
        reference=reference,
        reference_grad=reference_grad,
        support=UNIT_INTERVAL if squashed else REAL_LINE,
        transform=bind(_transform, **names),
        transform_grad=bind(_transform_grad, **names),
        density=Density(
            at=at,
            reference=log_prob,
            reference_grad=log_prob_grad,
            reference_score=score,
            transform=bind(_log_prob, **names),
            transform_grad=bind(_log_prob_grad, **names),
            score=bind(_score, **names),
        ),
    )


_PROBS = ("probs", log_odds, log_odds_slope, log_odds_device, log_odds_slope_device)
_LOGITS = ("logits", identity, one, identity_device, one_device)

RELAXED_BERNOULLI_PROBS_MAP = _relaxed_bernoulli_map("relaxed_bernoulli_probs", *_PROBS, squashed=True)
RELAXED_BERNOULLI_LOGITS_MAP = _relaxed_bernoulli_map("relaxed_bernoulli_logits", *_LOGITS, squashed=True)
LOGIT_RELAXED_BERNOULLI_PROBS_MAP = _relaxed_bernoulli_map("logit_relaxed_bernoulli_probs", *_PROBS, squashed=False)
LOGIT_RELAXED_BERNOULLI_LOGITS_MAP = _relaxed_bernoulli_map("logit_relaxed_bernoulli_logits", *_LOGITS, squashed=False)
