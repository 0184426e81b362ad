"""The logarithm of a standard gamma number, finite at every concentration: what Dirichlet draws are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from .law import Law
from .rejection.gamma import GAMMA, floored
from .rejection.law import Part, first_of, noise_of

# (ratio, power): g is concentration * ratio * exp(power).
Noise = tuple[Tensor, Tensor]


def log_gamma_reference(noise: Noise, concentration: Tensor) -> Tensor:
    return torch.log(floored(concentration) * noise[0]) + noise[1]


LOG_GAMMA_LAW = Law(
    name="log_gamma",
    parameters=("concentration",),
    noise=noise_of("gamma", 1, Part(GAMMA, first_of), values=2),
    reference=log_gamma_reference,
)
