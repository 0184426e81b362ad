"""Uniform: low + (high - low) * u, u uniform in [0, 1), and below high after rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from ..devicemath import divide, log
from ..language import tl, triton
from ..noise import NATIVE_UNIFORM
from .map import Density, Map
from .support import End, Support, below, below_device


def uniform_reference(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.addcmul(low, high - low, u)


def uniform_reference_grad(u: Tensor, grad: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return grad * (1 - u), grad * u


def uniform_log_prob_reference(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return -torch.log(high - low)


def uniform_log_prob_reference_grad(u: Tensor, grad: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Also the score: the density does not depend on where inside of the interval the sample lies."""
    unit = grad / (high - low)
    return unit, -unit


@triton.jit
def uniform_transform(u, low, high, HARDWARE: tl.constexpr):
    return tl.fma(high - low, u, low)


@triton.jit
def uniform_transform_grad(u, grad, HARDWARE: tl.constexpr):
    return grad * (1.0 - u), grad * u


@triton.jit
def uniform_log_prob(u, low, high, HARDWARE: tl.constexpr):
    return -log(high - low, HARDWARE)


@triton.jit
def uniform_log_prob_grad(u, grad, low, high, HARDWARE: tl.constexpr):
    unit = divide(grad, high - low, HARDWARE)
    return unit, -unit


@triton.jit
def uniform_end(params, STEP: tl.constexpr):
    return below_device(params[1], STEP)


UNIFORM_MAP = Map(
    name="uniform",
    parameters=("low", "high"),
    noise=NATIVE_UNIFORM,
    reference=uniform_reference,
    reference_grad=uniform_reference_grad,
    affine=True,
    transform=uniform_transform,
    transform_grad=uniform_transform_grad,
    support=Support(end=End(lambda step, low, high: below(high, step), uniform_end)),
    density=Density(
        at=lambda x, low, high: torch.distributions.Uniform(low, high, validate_args=False).log_prob(x),
        reference=uniform_log_prob_reference,
        reference_grad=uniform_log_prob_reference_grad,
        reference_score=uniform_log_prob_reference_grad,
        transform=uniform_log_prob,
        transform_grad=uniform_log_prob_grad,
        score=uniform_log_prob_grad,
    ),
)
