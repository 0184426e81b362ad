"""Bernoulli with the straight-through gradient: the sample's gradient stands for that of p.

Source: Bengio, Léonard and Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
Computation" (2013), section 4. The sample is b + p - (p held constant), b the Bernoulli draw; its log-density is
x logit(p) + log(1 - p) as a function of that x, so that there p counts a second time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .bernoulli import (
    BERNOULLI_LOGITS_DENSITY,
    BERNOULLI_LOGITS_LAW,
    BERNOULLI_PROBS_DENSITY,
    BERNOULLI_PROBS_LAW,
    bernoulli_logits_reference,
    bernoulli_probs_reference,
)


def straight_through_probs_reference_grad(u: Tensor, grad: Tensor, probs: Tensor) -> tuple[Tensor]:
    return (grad,)


def straight_through_probs_log_prob_reference_grad(u: Tensor, grad: Tensor, probs: Tensor) -> tuple[Tensor]:
    x = bernoulli_probs_reference(u, probs) + (probs - probs.detach())
    return (grad * ((x - probs) / (probs * (1 - probs)) + torch.log(probs) - torch.log1p(-probs)),)


def straight_through_logits_reference_grad(u: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    w = torch.exp(-torch.abs(logits))
    return (grad * (w / ((1 + w) * (1 + w))),)


def straight_through_logits_log_prob_reference_grad(u: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    p = torch.reciprocal(1 + torch.exp(-logits))
    x = bernoulli_logits_reference(u, logits) + (p - p.detach())
    return (grad * (x - p) + logits * straight_through_logits_reference_grad(u, grad, logits)[0],)


BERNOULLI_STRAIGHT_THROUGH_PROBS_LAW = replace(
    BERNOULLI_PROBS_LAW,
    name="bernoulli_straight_through_probs",
    reference_grad=straight_through_probs_reference_grad,
    density=replace(
        BERNOULLI_PROBS_DENSITY,
        reference_grad=straight_through_probs_log_prob_reference_grad,
    ),
)
BERNOULLI_STRAIGHT_THROUGH_LOGITS_LAW = replace(
    BERNOULLI_LOGITS_LAW,
    name="bernoulli_straight_through_logits",
    reference_grad=straight_through_logits_reference_grad,
    density=replace(
        BERNOULLI_LOGITS_DENSITY,
        reference_grad=straight_through_logits_log_prob_reference_grad,
    ),
)
