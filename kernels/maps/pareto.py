"""Pareto: scale * exp(E / alpha), E standard exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..devicemath import divide, exp, log
from ..language import tl, triton
from ..noise import COARSE_EXPONENTIAL
from .map import Density, Map
from .support import Support


def pareto_reference(x: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    return scale * torch.exp(x / alpha)


def pareto_reference_grad(x: Tensor, grad: Tensor, scale: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    log_unit = x / alpha
    unit = grad * torch.exp(log_unit)
    return unit, -unit * scale * log_unit / alpha


def pareto_log_prob_reference(x: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    return torch.log(alpha / scale) - x - x / alpha


def pareto_log_prob_reference_grad(x: Tensor, grad: Tensor, scale: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    return -grad / scale, grad * (1 + x / alpha) / alpha


def pareto_reference_score(x: Tensor, grad: Tensor, scale: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    return grad * alpha / scale, grad * (1 - x) / alpha


@triton.jit
def _exp_of_positive(x, HARDWARE: tl.constexpr):
    """e**x, and no less than 1, which the hardware's rounding does not promise: the sample is no less than scale."""
    return tl.maximum(exp(x, HARDWARE), 1.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def pareto_transform(x, scale, alpha, HARDWARE: tl.constexpr):
    return scale * _exp_of_positive(divide(x, alpha, HARDWARE), HARDWARE)


@triton.jit
def pareto_transform_grad(x, grad, scale, alpha, HARDWARE: tl.constexpr):
    log_unit = divide(x, alpha, HARDWARE)
    unit = grad * exp(log_unit, HARDWARE)
    return unit, divide(-unit * scale * log_unit, alpha, HARDWARE)


@triton.jit
def pareto_log_prob(x, scale, alpha, HARDWARE: tl.constexpr):
    return log(divide(alpha, scale, HARDWARE), HARDWARE) - x - divide(x, alpha, HARDWARE)


@triton.jit
def pareto_log_prob_grad(x, grad, scale, alpha, HARDWARE: tl.constexpr):
    unit = divide(grad, alpha, HARDWARE)
    return -divide(grad, scale, HARDWARE), unit * (1.0 + divide(x, alpha, HARDWARE))


@triton.jit
def pareto_score(x, grad, scale, alpha, HARDWARE: tl.constexpr):
    return divide(grad * alpha, scale, HARDWARE), divide(grad * (1.0 - x), alpha, HARDWARE)


PARETO_MAP = Map(
    name="pareto",
    parameters=("scale", "alpha"),
    noise=COARSE_EXPONENTIAL,
    reference=pareto_reference,
    reference_grad=pareto_reference_grad,
    support=Support(None, math.inf),
    transform=pareto_transform,
    transform_grad=pareto_transform_grad,
    density=Density(
        at=lambda x, scale, alpha: torch.distributions.Pareto(scale, alpha, validate_args=False).log_prob(x),
        reference=pareto_log_prob_reference,
        reference_grad=pareto_log_prob_reference_grad,
        reference_score=pareto_reference_score,
        transform=pareto_log_prob,
        transform_grad=pareto_log_prob_grad,
        score=pareto_score,
    ),
)
