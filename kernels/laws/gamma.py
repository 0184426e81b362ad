"""Gamma: g / rate, and inverse gamma: rate / g, g standard gamma.

The noise is (ratio, power), of which g is concentration * ratio * exp(power).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formula.devicemath import divide, exp
from ..runtime.language import tl, triton
from .map import Map
from .rejection.gamma import GAMMA, floored, floored_device
from .rejection.gamma_gradient import gamma_gradient, gamma_gradient_device, ratio_slope
from .rejection.law import Part, first_of, noise_of
from .support import POSITIVE, finite, finite_device

Noise = tuple[Tensor, Tensor]


def gamma_slopes(noise: Noise, concentration: Tensor, *others: Tensor) -> list[tuple[int, int, Tensor]]:
    return [(0, 0, ratio_slope(*noise, concentration))]


NOISE = noise_of("gamma", 2, Part(GAMMA, first_of), values=2, slopes=gamma_slopes)


def gamma_reference(noise: Noise, concentration: Tensor, rate: Tensor) -> Tensor:
    ratio, power = noise
    scale = torch.exp(power)
    # What is divided by a small rate may overflow, and the power underflow.
    return torch.where(scale > 0, floored(concentration) / rate * ratio * scale, scale)


def gamma_reference_grad(noise: Noise, grad: Tensor, concentration: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    weighted = grad * finite(gamma_reference(noise, concentration, rate))
    return weighted * gamma_gradient(*noise, concentration), -weighted / rate


def inverse_gamma_reference(noise: Noise, concentration: Tensor, rate: Tensor) -> Tensor:
    ratio, power = noise
    scale = torch.exp(-power)
    return torch.where(scale < math.inf, rate / floored(concentration) / ratio * scale, scale)


def inverse_gamma_reference_grad(
    noise: Noise, grad: Tensor, concentration: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor]:
    weighted = grad * finite(inverse_gamma_reference(noise, concentration, rate))
    return -weighted * gamma_gradient(*noise, concentration), weighted / rate


@triton.jit
def gamma_transform(noise, concentration, rate, HARDWARE: tl.constexpr):
    ratio, power = noise
    return divide(concentration * ratio * exp(power, HARDWARE), rate, HARDWARE)


@triton.jit
def gamma_transform_grad(noise, grad, concentration, rate, HARDWARE: tl.constexpr):
    weighted = grad * finite_device(gamma_transform(noise, concentration, rate, HARDWARE))
    return weighted * gamma_gradient_device(noise[0], noise[1], concentration, HARDWARE), -divide(
        weighted, rate, HARDWARE
    )


@triton.jit
def inverse_gamma_transform(noise, concentration, rate, HARDWARE: tl.constexpr):
    ratio, power = noise
    scale = exp(-power, HARDWARE)
    x = divide(rate, floored_device(concentration) * ratio, HARDWARE) * scale
    return tl.where(scale < float("inf"), x, scale)


@triton.jit
def inverse_gamma_transform_grad(noise, grad, concentration, rate, HARDWARE: tl.constexpr):
    weighted = grad * finite_device(inverse_gamma_transform(noise, concentration, rate, HARDWARE))
    return -weighted * gamma_gradient_device(noise[0], noise[1], concentration, HARDWARE), divide(
        weighted, rate, HARDWARE
    )


GAMMA_MAP = Map(
    name="gamma",
    parameters=("concentration", "rate"),
    noise=NOISE,
    reference=gamma_reference,
    reference_grad=gamma_reference_grad,
    support=POSITIVE,
    transform=gamma_transform,
    transform_grad=gamma_transform_grad,
)
INVERSE_GAMMA_MAP = Map(
    name="inverse_gamma",
    parameters=("concentration", "rate"),
    noise=NOISE,
    reference=inverse_gamma_reference,
    reference_grad=inverse_gamma_reference_grad,
    support=POSITIVE,
    transform=inverse_gamma_transform,
    transform_grad=inverse_gamma_transform_grad,
)
