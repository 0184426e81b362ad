"""The logarithm of a standard gamma number, finite at every concentration: what Dirichlet draws are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..devicemath import log
from ..language import tl, triton
from ..loops.gamma import GAMMA, floored, floored_device
from ..loops.law import Part, first_of, noise_of
from .map import Map

# (ratio, power): g is concentration * ratio * exp(power).
Noise = tuple[Tensor, Tensor]


def log_gamma_reference(noise: Noise, concentration: Tensor) -> Tensor:
    return torch.log(floored(concentration) * noise[0]) + noise[1]


@triton.jit
def log_gamma_transform(noise, concentration, HARDWARE: tl.constexpr):
    return log(floored_device(concentration) * noise[0], HARDWARE) + noise[1]


LOG_GAMMA_MAP = Map(
    name="log_gamma",
    parameters=("concentration",),
    noise=noise_of("gamma", 1, Part(GAMMA, first_of), values=2),
    reference=log_gamma_reference,
    transform=log_gamma_transform,
)
