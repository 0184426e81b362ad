"""Standard gamma noise: g of the gamma law with a concentration and rate 1, as concentration * ratio * exp(power).

The power is 0 except for concentrations below 1, where g itself would underflow.

Source: Marsaglia and Tsang, "A simple method for generating gamma variables" (2000). With d = a - 1/3 and
y = z / sqrt(9 d), z standard normal, g = d (1 + y)**3 is taken with probability exp(-3 d r(y)),
r(y) = y - y**2 / 2 + y**3 / 3 - log(1 + y): their condition, without its cancellation at large d. For a concentration
below 1, it is g of concentration + 1 times u**(1 / concentration) (section 6 there). A block holds two attempts in
float32, of which the first is preferred.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...formula.special import fused_polynomial
from .law import Once, RejectionLaw, normal_candidates

# r(y) / y**4, minimax on [-1/4, 1/4]: relative error 3e-5. Farther out, and in float64, the formula itself does.
_REJECTION = (0.25000019, -0.19985479, 0.16651181, -0.15201389, 0.13363388)

# Lower concentrations count as this, at which ratio and power are finite, and g is 0 as it is at all of them.
_LEAST, _LEAST64 = 2.0**-100, 2.0**-900


def floored(concentration: Tensor) -> Tensor:
    """A concentration of which gamma noise is finite; what is negative stays so, and makes NaN."""
    least = _LEAST64 if concentration.dtype == torch.float64 else _LEAST
    return torch.where(torch.abs(concentration) < least, least, concentration)


def _setup(concentration: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d = concentration + (_small(concentration).to(concentration.dtype) - 1 / 3)
    return concentration, d, torch.rsqrt(9 * d)


def _small(concentration: Tensor, *others: Tensor) -> Tensor:
    return concentration < 1


def _attempt(
    z: Tensor,
    u: Tensor,
    concentration: Tensor,
    d: Tensor,
    width: Tensor,
    log1p: Callable[[Tensor], Tensor] = torch.log1p,
) -> tuple[Tensor, Tensor]:
    y = z * width
    square = y * y
    r = y - square * (0.5 - y * (1 / 3)) - log1p(y)
    if y.dtype == torch.float32:
        r = torch.where(torch.abs(y) < 0.25, square * square * fused_polynomial(y, _REJECTION), r)
    return y, (y <= -1) | (u > torch.exp(-3 * d * r))


def _attempt_on_gpu(z: Tensor, u: Tensor, concentration: Tensor, d: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    # In float32 the logarithm counts only where its argument is not next to 1: 58.5 instructions an attempt, else 69.
    log1p = torch.log1p if z.dtype == torch.float64 else lambda y: torch.log(1 + y)
    return _attempt(z, u, concentration, d, width, log1p)


def _squeeze(z: Tensor, u: Tensor, concentration: Tensor, d: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """r(y) is at most y**4 / 4, over 1 + y where y < 0, and exp(-3 d r) at least 1 - 3 d r.

    That accepts most numbers, at large concentrations nearly all.
    """
    y = z * width
    square, rest = y * y, 1 - u
    return y, torch.clamp(y, -torch.inf, 0.0) * rest + rest < 0.75 * d * (square * square)


def _finish(y: Tensor, concentration: Tensor, d: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    root = 1 + y
    return d / concentration * (root * root * root), torch.zeros_like(y)


def _finish_small(e: Tensor, y: Tensor, concentration: Tensor, d: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    concentration = floored(concentration)
    return _finish(y, concentration, d, width)[0], -e / concentration


GAMMA = RejectionLaw(
    name="gamma",
    parameters=1,
    setup=_setup,
    candidates=normal_candidates,
    attempt=_attempt,
    finish=_finish,
    squeeze=_squeeze,
    attempt_on_gpu=_attempt_on_gpu,
    once=Once(_small, _finish_small),
)
