"""Bernoulli: u < p, from probs or from logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ..devicemath import divide, exp, log, log1p, negative
from ..language import tl, triton
from ..noise import UNIFORM
from ..special import log_chances
from .map import Density, Map


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


@triton.jit
def bernoulli_probs_transform(u, probs, HARDWARE: tl.constexpr):
    return (u < probs).to(u.dtype)


@triton.jit
def bernoulli_logits_transform(u, logits, HARDWARE: tl.constexpr):
    return (u * exp(negative(logits), HARDWARE) < 1.0 - u).to(u.dtype)


@triton.jit
def bernoulli_probs_log_prob(u, probs, HARDWARE: tl.constexpr):
    # The logarithm that is not wanted may be of 0.
    return tl.where(u < probs, log(probs, HARDWARE), log1p(-probs, HARDWARE))


@triton.jit
def bernoulli_probs_score(u, grad, probs, HARDWARE: tl.constexpr):
    return (divide(grad + tl.zeros_like(u), tl.where(u < probs, probs, probs - 1.0), HARDWARE),)


@triton.jit
def bernoulli_logits_log_prob(u, logits, HARDWARE: tl.constexpr):
    y = tl.where(u * exp(-logits, HARDWARE) < 1.0 - u, logits, -logits)
    return tl.minimum(y, 0.0) - log1p(exp(-tl.abs(y), HARDWARE), HARDWARE)


@triton.jit
def sigmoid(x, HARDWARE: tl.constexpr):
    # Not 1 / (1 + exp(-x)): the hardware's division gives 0 / w where the denominator is huge.
    w = exp(-tl.abs(x), HARDWARE)
    return divide(tl.where(x < 0, w, 1.0), 1.0 + w, HARDWARE)


@triton.jit
def bernoulli_logits_score(u, grad, logits, HARDWARE: tl.constexpr):
    return (grad * (bernoulli_logits_transform(u, logits, HARDWARE) - sigmoid(logits, HARDWARE)),)


BERNOULLI_PROBS_DENSITY = Density(
    at=bernoulli_probs_log_prob_at,
    reference=bernoulli_probs_log_prob_reference,
    reference_score=bernoulli_probs_reference_score,
    transform=bernoulli_probs_log_prob,
    score=bernoulli_probs_score,
)
BERNOULLI_PROBS_MAP = Map(
    name="bernoulli_probs",
    parameters=("probs",),
    noise=UNIFORM,
    reference=bernoulli_probs_reference,
    transform=bernoulli_probs_transform,
    density=BERNOULLI_PROBS_DENSITY,
)
BERNOULLI_LOGITS_DENSITY = Density(
    at=bernoulli_logits_log_prob_at,
    reference=bernoulli_logits_log_prob_reference,
    reference_score=bernoulli_logits_reference_score,
    transform=bernoulli_logits_log_prob,
    score=bernoulli_logits_score,
)
BERNOULLI_LOGITS_MAP = Map(
    name="bernoulli_logits",
    parameters=("logits",),
    noise=UNIFORM,
    reference=bernoulli_logits_reference,
    transform=bernoulli_logits_transform,
    density=BERNOULLI_LOGITS_DENSITY,
)
