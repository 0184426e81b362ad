"""Bernoulli with the straight-through gradient: the sample's gradient stands for that of p.

Source: Bengio, Léonard and Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
Computation" (2013), section 4. The sample is b + p - (p held constant), b the Bernoulli draw; its log-density is
x logit(p) + log(1 - p) as a function of that x, so that there p counts a second time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..devicemath import divide, exp, log, log1p
from ..language import tl, triton
from .bernoulli import (
    BERNOULLI_LOGITS_DENSITY,
    BERNOULLI_LOGITS_MAP,
    BERNOULLI_PROBS_DENSITY,
    BERNOULLI_PROBS_MAP,
    bernoulli_logits_reference,
    bernoulli_logits_transform,
    bernoulli_probs_reference,
    bernoulli_probs_transform,
    sigmoid,
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


@triton.jit
def straight_through_probs_transform_grad(u, grad, probs, HARDWARE: tl.constexpr):
    return (grad,)


@triton.jit
def straight_through_probs_log_prob_grad(u, grad, probs, HARDWARE: tl.constexpr):
    slope = log(probs, HARDWARE) - log1p(-probs, HARDWARE)
    score = divide(bernoulli_probs_transform(u, probs, HARDWARE) - probs, probs * (1.0 - probs), HARDWARE)
    return (grad * (score + slope),)


@triton.jit
def straight_through_logits_transform_grad(u, grad, logits, HARDWARE: tl.constexpr):
    w = exp(-tl.abs(logits), HARDWARE)
    return (grad * divide(w, (1.0 + w) * (1.0 + w), HARDWARE),)


@triton.jit
def straight_through_logits_log_prob_grad(u, grad, logits, HARDWARE: tl.constexpr):
    score = bernoulli_logits_transform(u, logits, HARDWARE) - sigmoid(logits, HARDWARE)
    through = straight_through_logits_transform_grad(u, grad, logits, HARDWARE)
    return (tl.fma(logits, through[0], grad * score),)


BERNOULLI_STRAIGHT_THROUGH_PROBS_MAP = replace(
    BERNOULLI_PROBS_MAP,
    name="bernoulli_straight_through_probs",
    reference_grad=straight_through_probs_reference_grad,
    transform_grad=straight_through_probs_transform_grad,
    density=replace(
        BERNOULLI_PROBS_DENSITY,
        reference_grad=straight_through_probs_log_prob_reference_grad,
        transform_grad=straight_through_probs_log_prob_grad,
    ),
)
BERNOULLI_STRAIGHT_THROUGH_LOGITS_MAP = replace(
    BERNOULLI_LOGITS_MAP,
    name="bernoulli_straight_through_logits",
    reference_grad=straight_through_logits_reference_grad,
    transform_grad=straight_through_logits_transform_grad,
    density=replace(
        BERNOULLI_LOGITS_DENSITY,
        reference_grad=straight_through_logits_log_prob_reference_grad,
        transform_grad=straight_through_logits_log_prob_grad,
    ),
)
