"""Gamma: g / rate, and inverse gamma: rate / g, g standard gamma.

The noise is (ratio, power), of which g is concentration * ratio * exp(power).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .law import Law
from .rejection.gamma import GAMMA, floored
from .rejection.gamma_gradient import gamma_gradient, ratio_slope
from .rejection.law import Part, first_of, noise_of
from .support import POSITIVE, finite

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


def _device_sample(noise: Noise, concentration: Tensor, rate: Tensor) -> Tensor:
    """The sample where numbers too small to be normal are 0 anyway: 3 instructions of 143 fewer."""
    ratio, power = noise
    return concentration * ratio * torch.exp(power) / rate


def inverse_gamma_reference(noise: Noise, concentration: Tensor, rate: Tensor) -> Tensor:
    ratio, power = noise
    scale = torch.exp(-power)
    return torch.where(scale < math.inf, rate / floored(concentration) / ratio * scale, scale)


def inverse_gamma_reference_grad(
    noise: Noise, grad: Tensor, concentration: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor]:
    weighted = grad * finite(inverse_gamma_reference(noise, concentration, rate))
    return -weighted * gamma_gradient(*noise, concentration), weighted / rate


GAMMA_LAW = Law(
    name="gamma",
    parameters=("concentration", "rate"),
    noise=NOISE,
    reference=gamma_reference,
    reference_grad=gamma_reference_grad,
    support=POSITIVE,
    transform=_device_sample,
)
INVERSE_GAMMA_LAW = Law(
    name="inverse_gamma",
    parameters=("concentration", "rate"),
    noise=NOISE,
    reference=inverse_gamma_reference,
    reference_grad=inverse_gamma_reference_grad,
    support=POSITIVE,
)
