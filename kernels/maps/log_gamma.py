"""The logarithm of a standard gamma number, finite at every concentration: what Dirichlet draws are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..devicemath import log
from ..language import tl, triton
from ..loops.gamma import floored, floored_device, gamma_noise, gamma_noise_device
from ..loops.noise import Blocks, LoopNoise
from .map import Map

# (ratio, power): g is concentration * ratio * exp(power).
Noise = tuple[Tensor, Tensor]


def _noise(blocks: Blocks, concentration: Tensor, dtype: torch.dtype) -> Noise:
    return gamma_noise(blocks, concentration, dtype)


@triton.jit
def _noise_device(c0, c1, k0, k1, concentration, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    return gamma_noise_device(c0, c1, k0, k1, concentration, 0, DTYPE, HARDWARE)


def log_gamma_reference(noise: Noise, concentration: Tensor) -> Tensor:
    return torch.log(floored(concentration) * noise[0]) + noise[1]


@triton.jit
def log_gamma_transform(noise, concentration, HARDWARE: tl.constexpr):
    return log(floored_device(concentration) * noise[0], HARDWARE) + noise[1]


LOG_GAMMA_MAP = Map(
    name="log_gamma",
    parameters=("concentration",),
    noise=LoopNoise("gamma", 2, _noise, _noise_device),
    reference=log_gamma_reference,
    transform=log_gamma_transform,
)
