"""Beta: g1 / (g1 + g0), g1 and g0 standard gamma with the two concentrations.

With g = concentration * ratio * exp(power), what underflows is divided out before anything is rounded. Gradients are
those of the two gamma draws: dx = x (1 - x) (d log g1 - d log g0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..devicemath import divide, exp
from ..language import tl, triton
from ..loops.gamma import gamma_noise, gamma_noise_device
from ..loops.gamma_gradient import gamma_gradient, gamma_gradient_device, ratio_slope
from ..loops.noise import Blocks, LoopNoise
from .map import Map
from .support import UNIT_INTERVAL

# (ratio, power) of g1 and of g0.
Noise = tuple[Tensor, Tensor, Tensor, Tensor]


def _noise(blocks: Blocks, concentration1: Tensor, concentration0: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return (*gamma_noise(blocks, concentration1, dtype), *gamma_noise(blocks, concentration0, dtype, stream=2))


def _slopes(noise: Noise, concentration1: Tensor, concentration0: Tensor) -> list[tuple[int, int, Tensor]]:
    return [
        (0, 0, ratio_slope(noise[0], noise[1], concentration1)),
        (2, 1, ratio_slope(noise[2], noise[3], concentration0)),
    ]


@triton.jit
def _noise_device(c0, c1, k0, k1, concentration1, concentration0, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    first = gamma_noise_device(c0, c1, k0, k1, concentration1, 0, DTYPE, HARDWARE)
    return first + gamma_noise_device(c0, c1, k0, k1, concentration0, 2, DTYPE, HARDWARE)


def _shares(noise: Noise, concentration1: Tensor, concentration0: Tensor) -> tuple[Tensor, Tensor]:
    """x and 1 - x."""
    ratio1, power1, ratio0, power0 = noise
    greater = torch.maximum(power1, power0)
    first = concentration1 * ratio1 * torch.exp(power1 - greater)
    second = concentration0 * ratio0 * torch.exp(power0 - greater)
    total = first + second
    return first / total, second / total


def beta_reference(noise: Noise, concentration1: Tensor, concentration0: Tensor) -> Tensor:
    return _shares(noise, concentration1, concentration0)[0]


def beta_reference_grad(
    noise: Noise, grad: Tensor, concentration1: Tensor, concentration0: Tensor
) -> tuple[Tensor, Tensor]:
    x, rest = _shares(noise, concentration1, concentration0)
    weighted = grad * (x * rest)
    return (
        weighted * gamma_gradient(noise[0], noise[1], concentration1),
        -weighted * gamma_gradient(noise[2], noise[3], concentration0),
    )


@triton.jit
def _shares_device(noise, concentration1, concentration0, HARDWARE: tl.constexpr):
    greater = tl.maximum(noise[1], noise[3])
    first = concentration1 * noise[0] * exp(noise[1] - greater, HARDWARE)
    second = concentration0 * noise[2] * exp(noise[3] - greater, HARDWARE)
    total = first + second
    return divide(first, total, HARDWARE), divide(second, total, HARDWARE)


@triton.jit
def beta_transform(noise, concentration1, concentration0, HARDWARE: tl.constexpr):
    return _shares_device(noise, concentration1, concentration0, HARDWARE)[0]


@triton.jit
def beta_transform_grad(noise, grad, concentration1, concentration0, HARDWARE: tl.constexpr):
    x, rest = _shares_device(noise, concentration1, concentration0, HARDWARE)
    weighted = grad * (x * rest)
    of_first = weighted * gamma_gradient_device(noise[0], noise[1], concentration1, HARDWARE)
    return of_first, -weighted * gamma_gradient_device(noise[2], noise[3], concentration0, HARDWARE)


BETA_MAP = Map(
    name="beta",
    parameters=("concentration1", "concentration0"),
    noise=LoopNoise("two_gammas", 4, _noise, _noise_device, slopes=_slopes),
    reference=beta_reference,
    reference_grad=beta_reference_grad,
    support=UNIT_INTERVAL,
    transform=beta_transform,
    transform_grad=beta_transform_grad,
)
