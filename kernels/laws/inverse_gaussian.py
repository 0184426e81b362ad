"""Inverse Gaussian: one of the two roots x of concentration (x - loc)**2 / (loc**2 x) = n**2, n standard normal.

Source: Michael, Schucany and Haas, "Generating random variates using transformations with multiple roots" (1976).
As the choice of the root depends on the parameters, gradients are those of the distribution function:
dx/dloc = 2 Q(b) / phi(b) sqrt(concentration x**3) / loc**2, b = sqrt(concentration / x) (x / loc + 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formula.polynomial import polynomial
from ..stream.noise import CENTERED, NORMAL, NoisePair
from .law import Law
from .normal import HALF_LOG_2_PI
from .normal_tail import scaled_tail
from .support import POSITIVE

Noise = tuple[Tensor, Tensor]
# b**2 (1 - b Q(b) / phi(b)) as a polynomial of 1 / b**2, for large b.
_TAIL = (1.0, -3.0, 15.0, -105.0, 945.0, -10395.0)


def _roots(noise: Noise, loc: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sample, whether it is the larger root, and (x - loc) / (x + loc)."""
    n, t = noise
    half = n * n / (2 * concentration)
    inverse = torch.clamp(1 / loc, 0.0, torch.finfo(loc.dtype).max / 4)
    beyond = half + torch.sqrt(half) * torch.sqrt(2 * inverse + half)
    q = torch.clamp(loc * beyond, 0.0, 1e30)  # loc / x - 1 of the smaller root
    large = torch.where(t > 0, t, 1 + t) * (2 + q) < 1
    x = torch.where(large, loc * (1 + q), 1 / (inverse + beyond))
    apart = q / (q + 2)
    return x, large, torch.where(large, apart, -apart)


def _reference(noise: Noise, loc: Tensor, concentration: Tensor) -> Tensor:
    return _roots(noise, loc, concentration)[0]


def _slopes_of_sample(noise: Noise, loc: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sample, whether it is the larger root, dx/dloc and dx/dconcentration."""
    x, large, apart = _roots(noise, loc, concentration)
    x = torch.clamp(x, torch.finfo(x.dtype).tiny, torch.finfo(x.dtype).max)
    root = torch.sqrt(concentration) * torch.rsqrt(x)
    bound = 40.0 if x.dtype == torch.float64 else 12.0
    b = torch.clamp(root * (x / loc) + root, 0.0, 1e15)
    far = torch.clamp(b, bound, 1e15)
    square = 1 / (far * far)
    rest = torch.where(b > bound, square * polynomial(square, _TAIL), 1 - math.sqrt(2 * math.pi) * b * scaled_tail(b))
    of_loc = torch.clamp(x / loc, 0.0, 1e37) * ((1 + apart) * (1 - rest))
    return x, large, of_loc, torch.clamp(x / concentration, 0.0, 1e37) * ((1 + apart) * rest - apart)


def _grad(noise: Noise, grad: Tensor, loc: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    _, _, of_loc, of_concentration = _slopes_of_sample(noise, loc, concentration)
    return grad * of_loc, grad * of_concentration


def _slopes(noise: Noise, loc: Tensor, concentration: Tensor) -> list[tuple[int, int, Tensor]]:
    """How n moves: n is up to its sign sqrt(concentration / x) (x / loc - 1)."""
    x, large, of_loc, of_concentration = _slopes_of_sample(noise, loc, concentration)
    root = torch.sqrt(concentration / x)
    sign = torch.sign(noise[0].detach())
    sign = torch.where(large, sign, -sign)
    of_x = 0.5 * root * (1 / loc + 1 / x)
    by_loc = of_x * of_loc - root * x / (loc * loc)
    by_concentration = of_x * of_concentration + 0.5 * root * (x / loc - 1) / concentration
    return [(0, 0, sign * by_loc), (0, 1, sign * by_concentration)]


def _ends(x: Tensor, loc: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    root = torch.sqrt(concentration / x)
    return root * (x / loc - 1), root * (x / loc + 1)


def inverse_gaussian_log_prob(x: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    a, _ = _ends(x, loc, concentration)
    return 0.5 * (torch.log(concentration) - 3 * torch.log(x)) - HALF_LOG_2_PI - 0.5 * a * a


def inverse_gaussian_cdf(x: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    a, b = _ends(x, loc, concentration)
    return torch.special.ndtr(a) + scaled_tail(b) * torch.exp(-0.5 * a * a)


INVERSE_GAUSSIAN_LAW = Law(
    name="inverse_gaussian",
    parameters=("loc", "concentration"),
    noise=NoisePair(NORMAL, CENTERED, _slopes),
    reference=_reference,
    reference_grad=_grad,
    support=POSITIVE,
)
