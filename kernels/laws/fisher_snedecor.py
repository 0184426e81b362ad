"""Fisher and Snedecor's F: (g1 / df1) / (g2 / df2), g1 and g2 standard gamma with half the degrees of freedom.

With g = df / 2 * ratio * exp(power) that is a ratio of ratios.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..formula.devicemath import divide, exp
from ..runtime.language import tl, triton
from .map import Map
from .rejection.gamma import GAMMA
from .rejection.gamma_gradient import quotient_gradient, quotient_gradient_device, ratio_slope
from .rejection.law import Part, noise_of
from .support import POSITIVE, finite, finite_device

# (ratio, power) of g1 and of g2.
Noise = tuple[Tensor, Tensor, Tensor, Tensor]

_FIRST = Part(GAMMA, lambda _, df1, df2: (0.5 * df1,))
_SECOND = Part(GAMMA, lambda _, df1, df2: (0.5 * df2,), stream=2)


def _slopes(noise: Noise, df1: Tensor, df2: Tensor) -> list[tuple[int, int, Tensor]]:
    return [
        (0, 0, 0.5 * ratio_slope(noise[0], noise[1], 0.5 * df1)),
        (2, 1, 0.5 * ratio_slope(noise[2], noise[3], 0.5 * df2)),
    ]


def fisher_snedecor_reference(noise: Noise, df1: Tensor, df2: Tensor) -> Tensor:
    ratio1, power1, ratio2, power2 = noise
    return ratio1 / ratio2 * torch.exp(power1 - power2)


def fisher_snedecor_reference_grad(noise: Noise, grad: Tensor, df1: Tensor, df2: Tensor) -> tuple[Tensor, Tensor]:
    weighted = grad * finite(fisher_snedecor_reference(noise, df1, df2))
    return (
        0.5 * weighted * quotient_gradient(noise[0], noise[1], 0.5 * df1),
        -0.5 * weighted * quotient_gradient(noise[2], noise[3], 0.5 * df2),
    )


@triton.jit
def fisher_snedecor_transform(noise, df1, df2, HARDWARE: tl.constexpr):
    return divide(noise[0], noise[2], HARDWARE) * exp(noise[1] - noise[3], HARDWARE)


@triton.jit
def fisher_snedecor_transform_grad(noise, grad, df1, df2, HARDWARE: tl.constexpr):
    half = 0.5 * grad * finite_device(fisher_snedecor_transform(noise, df1, df2, HARDWARE))
    first = quotient_gradient_device(noise[0], noise[1], 0.5 * df1, HARDWARE)
    second = quotient_gradient_device(noise[2], noise[3], 0.5 * df2, HARDWARE)
    return half * first, -half * second


FISHER_SNEDECOR_MAP = Map(
    name="fisher_snedecor",
    parameters=("df1", "df2"),
    noise=noise_of("two_half_gammas", 2, _FIRST, _SECOND, values=4, slopes=_slopes),
    reference=fisher_snedecor_reference,
    reference_grad=fisher_snedecor_reference_grad,
    support=POSITIVE,
    transform=fisher_snedecor_transform,
    transform_grad=fisher_snedecor_transform_grad,
)
