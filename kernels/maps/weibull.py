"""Weibull: scale * E**(1 / concentration), E standard exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..devicemath import divide, exp, log
from ..language import tl, triton
from ..noise import EXPONENTIAL
from .map import Density, Map
from .support import POSITIVE


def weibull_reference(x: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    return scale * torch.exp(torch.log(x) / concentration)


def weibull_reference_grad(x: Tensor, grad: Tensor, scale: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    log_unit = torch.log(x) / concentration
    unit = grad * torch.exp(log_unit)
    # A tiny concentration makes it infinite; the sample is 0 long before.
    return unit, -unit * scale * torch.clamp(log_unit, -1e4, math.inf) / concentration


def weibull_log_prob_reference(x: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    log_x = torch.log(x)
    return torch.log(concentration / scale) + log_x - log_x / concentration - x


def weibull_log_prob_reference_grad(
    x: Tensor, grad: Tensor, scale: Tensor, concentration: Tensor
) -> tuple[Tensor, Tensor]:
    return -grad / scale, grad * (1 + torch.log(x) / concentration) / concentration


def weibull_reference_score(x: Tensor, grad: Tensor, scale: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    return grad * concentration * (x - 1) / scale, grad * (1 + torch.log(x) * (1 - x)) / concentration


def weibull_log_prob_at(x: Tensor, scale: Tensor, k: Tensor) -> Tensor:
    """log(k / scale) + (k - 1) log(z) - z**k, z = x / scale, where z**k under- or overflows, too."""
    log_z = torch.log(x) - torch.log(scale)
    return torch.log(k) - torch.log(scale) + (k - 1) * log_z - torch.exp(k * log_z)


@triton.jit
def weibull_transform(x, scale, concentration, HARDWARE: tl.constexpr):
    return scale * exp(divide(log(x, HARDWARE), concentration, HARDWARE), HARDWARE)


@triton.jit
def weibull_transform_grad(x, grad, scale, concentration, HARDWARE: tl.constexpr):
    log_unit = divide(log(x, HARDWARE), concentration, HARDWARE)
    unit = grad * exp(log_unit, HARDWARE)
    return unit, divide(-unit * scale * tl.maximum(log_unit, -1e4), concentration, HARDWARE)


@triton.jit
def weibull_log_prob(x, scale, concentration, HARDWARE: tl.constexpr):
    log_x = log(x, HARDWARE)
    constant = log(divide(concentration, scale, HARDWARE), HARDWARE)
    return constant + log_x - divide(log_x, concentration, HARDWARE) - x


@triton.jit
def weibull_log_prob_grad(x, grad, scale, concentration, HARDWARE: tl.constexpr):
    unit = divide(grad, concentration, HARDWARE)
    return -divide(grad, scale, HARDWARE), unit * (1.0 + divide(log(x, HARDWARE), concentration, HARDWARE))


@triton.jit
def weibull_score(x, grad, scale, concentration, HARDWARE: tl.constexpr):
    of_scale = divide(grad * concentration * (x - 1.0), scale, HARDWARE)
    return of_scale, divide(grad * tl.fma(log(x, HARDWARE), 1.0 - x, 1.0), concentration, HARDWARE)


WEIBULL_MAP = Map(
    name="weibull",
    parameters=("scale", "concentration"),
    noise=EXPONENTIAL,
    reference=weibull_reference,
    reference_grad=weibull_reference_grad,
    support=POSITIVE,
    transform=weibull_transform,
    transform_grad=weibull_transform_grad,
    density=Density(
        at=weibull_log_prob_at,
        reference=weibull_log_prob_reference,
        reference_grad=weibull_log_prob_reference_grad,
        reference_score=weibull_reference_score,
        transform=weibull_log_prob,
        transform_grad=weibull_log_prob_grad,
        score=weibull_score,
    ),
)
