"""Bernoulli: u < p, from probs or from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..devicemath import exp
from ..language import tl, triton
from ..noise import UNIFORM
from .map import Map


def bernoulli_probs_reference(u: Tensor, probs: Tensor) -> Tensor:
    return (u < probs).to(u.dtype)


def bernoulli_logits_reference(u: Tensor, logits: Tensor) -> Tensor:
    # u < 1 / (1 + exp(-logits)) without the division; u = 0 always succeeds unless exp overflows: 0 * inf is nan.
    return (u * torch.exp(-logits) < 1 - u).to(u.dtype)


@triton.jit
def bernoulli_probs_transform(u, probs, HARDWARE: tl.constexpr):
    return (u < probs).to(u.dtype)


@triton.jit
def bernoulli_logits_transform(u, logits, HARDWARE: tl.constexpr):
    return (u * exp(-logits, HARDWARE) < 1.0 - u).to(u.dtype)


BERNOULLI_PROBS_MAP = Map(
    name="bernoulli_probs",
    parameters=("probs",),
    noise=UNIFORM,
    reference=bernoulli_probs_reference,
    transform=bernoulli_probs_transform,
)
BERNOULLI_LOGITS_MAP = Map(
    name="bernoulli_logits",
    parameters=("logits",),
    noise=UNIFORM,
    reference=bernoulli_logits_reference,
    transform=bernoulli_logits_transform,
)
