"""Bernoulli: u < p, from probs or from logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ..formula.special import log_chances
from ..stream.noise import UNIFORM
from .law import Density, Law


def bernoulli_probs_reference(u: Tensor, probs: Tensor) -> Tensor:
    return (u < probs).to(u.dtype)


def bernoulli_logits_reference(u: Tensor, logits: Tensor) -> Tensor:
    # u < 1 / (1 + exp(-logits)) without the division; u = 0 always succeeds unless exp overflows: 0 * inf is nan.
    return (u * torch.exp(-logits) < 1 - u).to(u.dtype)


def bernoulli_probs_log_prob_reference(u: Tensor, probs: Tensor) -> Tensor:
    return torch.where(u < probs, torch.log(probs), torch.log1p(-probs))


def bernoulli_probs_reference_score(u: Tensor, grad: Tensor, probs: Tensor) -> tuple[Tensor]:
    return (grad / torch.where(u < probs, probs, probs - 1),)


def bernoulli_logits_log_prob_reference(u: Tensor, logits: Tensor) -> Tensor:
    # log sigmoid(logits) or log sigmoid(-logits), log sigmoid(y) = min(y, 0) - log(1 + exp(-|y|))
    y = torch.where(u * torch.exp(-logits) < 1 - u, logits, -logits)
    return torch.where(y < 0, y, 0.0) - torch.log1p(torch.exp(-torch.abs(y)))


def bernoulli_logits_reference_score(u: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    return (grad * (bernoulli_logits_reference(u, logits) - torch.reciprocal(1 + torch.exp(-logits))),)


def bernoulli_probs_log_prob_at(x: Tensor, probs: Tensor) -> Tensor:
    """x log(p) + (1 - x) log(1 - p), -inf where x is impossible."""
    return log_chances(x, 1 - x, probs)


def bernoulli_logits_log_prob_at(x: Tensor, logits: Tensor) -> Tensor:
    """The same from logits, one operation where they are finite."""
    greatest = torch.finfo(logits.dtype).max
    logits, x = torch.broadcast_tensors(torch.clamp(logits, -greatest, greatest), x)
    log_prob = -binary_cross_entropy_with_logits(logits, x, reduction="none")
    return torch.where(log_prob == -greatest, -math.inf, log_prob)


BERNOULLI_PROBS_DENSITY = Density(
    at=bernoulli_probs_log_prob_at,
    reference=bernoulli_probs_log_prob_reference,
    reference_score=bernoulli_probs_reference_score,
)
BERNOULLI_PROBS_LAW = Law(
    name="bernoulli_probs",
    parameters=("probs",),
    noise=UNIFORM,
    reference=bernoulli_probs_reference,
    reference_grad=None,
    density=BERNOULLI_PROBS_DENSITY,
)
BERNOULLI_LOGITS_DENSITY = Density(
    at=bernoulli_logits_log_prob_at,
    reference=bernoulli_logits_log_prob_reference,
    reference_score=bernoulli_logits_reference_score,
)
BERNOULLI_LOGITS_LAW = Law(
    name="bernoulli_logits",
    parameters=("logits",),
    noise=UNIFORM,
    reference=bernoulli_logits_reference,
    reference_grad=None,
    density=BERNOULLI_LOGITS_DENSITY,
)
