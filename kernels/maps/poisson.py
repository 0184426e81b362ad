"""Poisson: the noise itself, a count whose mean is `rate`."""

from __future__ import annotations

import torch
from torch import Tensor

from ..language import tl, triton
from ..loops.noise import Blocks, LoopNoise
from ..loops.poisson import poisson_noise, poisson_noise_device
from .map import Map
from .support import FINITE


def _noise(blocks: Blocks, rate: Tensor, dtype: torch.dtype) -> tuple[Tensor]:
    return (poisson_noise(blocks, rate, dtype),)


def poisson_reference(count: Tensor, rate: Tensor) -> Tensor:
    return count


@triton.jit
def _noise_device(c0, c1, k0, k1, rate, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    return (poisson_noise_device(c0, c1, k0, k1, rate, 0, DTYPE, HARDWARE),)


@triton.jit
def poisson_transform(count, rate, HARDWARE: tl.constexpr):
    return count


POISSON_MAP = Map(
    name="poisson",
    parameters=("rate",),
    noise=LoopNoise("poisson", 1, _noise, _noise_device),
    reference=poisson_reference,
    support=FINITE,
    transform=poisson_transform,
)
