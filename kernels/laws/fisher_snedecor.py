"""Fisher and Snedecor's F: (g1 / df1) / (g2 / df2), g1 and g2 standard gamma with half the degrees of freedom.

With g = df / 2 * ratio * exp(power) that is a ratio of ratios.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .law import Law
from .rejection.gamma import GAMMA
from .rejection.gamma_gradient import quotient_gradient, ratio_slope
from .rejection.law import Part, noise_of
from .support import POSITIVE, finite

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


FISHER_SNEDECOR_LAW = Law(
    name="fisher_snedecor",
    parameters=("df1", "df2"),
    noise=noise_of("two_half_gammas", 2, _FIRST, _SECOND, values=4, slopes=_slopes),
    reference=fisher_snedecor_reference,
    reference_grad=fisher_snedecor_reference_grad,
    support=POSITIVE,
)
