"""Skew-normal: loc + scale * (alpha |a| + b) / sqrt(1 + alpha**2), a and b standard normal.

Source: Henze, "A probabilistic representation of the skew-normal distribution" (1986).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..stream.noise import NORMAL, NoisePair
from .law import Law
from .normal import normal_log_prob
from .support import Support


def _reference(noise: tuple[Tensor, Tensor], loc: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    a, b = torch.abs(noise[0]), noise[1]
    # Beyond, it is as large as makes no difference, and its square is a number.
    k = torch.clamp(alpha, -1e15, 1e15)
    c = torch.rsqrt(1 + k * k)
    return loc + scale * (c * k * a + c * b)


def skew_normal_log_prob(x: Tensor, loc: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    skewed = torch.special.log_ndtr(alpha * ((x - loc) / scale))
    return normal_log_prob(x, loc, scale) + skewed + math.log(2)


SKEW_NORMAL_LAW = Law(
    name="skew_normal",
    parameters=("loc", "scale", "alpha"),
    noise=NoisePair(NORMAL, NORMAL),
    reference=_reference,
    support=Support(-math.inf, math.inf),
)
