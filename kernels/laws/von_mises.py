"""Von Mises: loc + 2 atan(q), q the tangent of half an angle of the law around 0, brought into [-pi, pi).

The angle x keeps F(x) as the concentration k changes: dx/dk = -(dF/dk) / f(x) (Figurnov, Mohamed and Mnih, "Implicit
Reparameterization Gradients", 2018, equation 6). With v(t) = 1 - cos(t) and B = 1 - I1(k) / I0(k), for x > 0

    dx/dk = -integral of (B - v(t)) exp(k (v(x) - v(t))) from 0 to x where v(x) < B, else
             integral of the same from x to pi:

no term of it changes sign. Gauss and Legendre's rule gives it, and B, as far as the exponential is above exp(-17)
(exp(-38) in float64), within 3e-5 (1e-9) relative.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..formula.polynomial import polynomial
from ..formula.special import sin_of_quarter
from .law import Law
from .rejection.law import Part, noise_of, second_of
from .rejection.quadrature import CUTOFF, CUTOFF64, RULE, RULE64
from .rejection.von_mises import VON_MISES

# Hankel's expansions of root(2 pi k) exp(-k) I0(k), and of its difference from I1's, in 1 / k: to float64 from here on.
_FAR = 50.0
_BESSEL_0 = tuple(math.prod((2 * i - 1) ** 2 / (8 * i) for i in range(1, n + 1)) for n in range(12))
_BESSEL_1 = tuple(math.prod(((2 * i - 1) ** 2 - 4) / (8 * i) for i in range(1, n + 1)) for n in range(12))
_BESSEL_DIFFERENCE = tuple(a - b for a, b in zip(_BESSEL_0, _BESSEL_1, strict=True))


def von_mises_reference(q: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    x = loc + 2 * torch.atan(q)
    # A sum with what is negative, so that no device fuses it with the product: where loc is large, that would show.
    return x + -(2 * math.pi * torch.floor((x + math.pi) / (2 * math.pi)))


def von_mises_log_prob(x: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    """Log-density k (cos(x - loc) - 1) - log(2 pi exp(-k) I0(k)): its terms do not cancel at large k."""
    far = concentration > _FAR
    near_k, far_k = torch.where(far, 1.0, concentration), torch.where(far, concentration, _FAR)
    far_bessel = torch.log(polynomial(1 / far_k, _BESSEL_0)) - 0.5 * torch.log(2 * math.pi * far_k)
    log_bessel = torch.where(far, far_bessel, torch.log(torch.special.i0e(near_k)))
    return -concentration * _versine(x - loc, torch.sin) - math.log(2 * math.pi) - log_bessel


def von_mises_variance(concentration: Tensor) -> Tensor:
    """The circular variance 1 - I1(k) / I0(k)."""
    far = concentration > _FAR
    near_k, far_k = torch.where(far, 1.0, concentration), torch.where(far, concentration, _FAR)
    far_variance = polynomial(1 / far_k, _BESSEL_DIFFERENCE) / polynomial(1 / far_k, _BESSEL_0)
    return torch.where(far, far_variance, 1 - torch.special.i1e(near_k) / torch.special.i0e(near_k))


def _versine(t: Tensor, sin: Callable[[Tensor], Tensor] = sin_of_quarter) -> Tensor:
    """1 - cos(t), t in [0, pi] unless the sine is for other angles."""
    s = sin(0.5 * t)
    return 2 * (s * s)


def _sensitivity(q: Tensor, k: Tensor) -> Tensor:
    """dx/dk."""
    wide = k.dtype == torch.float64
    (nodes, weights), cutoff = (RULE64, CUTOFF64) if wide else (RULE, CUTOFF)
    x = 2 * torch.atan(torch.abs(q))
    # 1 - cos(t) >= 2 (t / pi)**2
    width = torch.clamp(math.pi * torch.sqrt(0.5 * cutoff / k), 0.0, math.pi)
    total = mean = torch.zeros_like(k)
    for node, weight in zip(nodes, weights, strict=True):
        v = _versine(width * node)
        part = weight * torch.exp(-k * v)
        total, mean = total + part, mean + part * v
    mean = mean / total
    v_x = _versine(x)
    inner = v_x < mean
    beyond = torch.minimum(math.pi - x, torch.sqrt(x * x + 0.5 * cutoff * math.pi**2 / k) - x)
    length = torch.where(inner, x, beyond)
    start = torch.where(inner, 0.0, x)
    integral = torch.zeros_like(k)
    for node, weight in zip(nodes, weights, strict=True):
        v = _versine(start + length * node)
        integral = integral + weight * torch.abs(mean - v) * torch.exp(k * (v_x - v))
    return torch.copysign(integral * length, -q)


def _slopes(q: Tensor, loc: Tensor, concentration: Tensor) -> list[tuple[int, int, Tensor]]:
    return [(0, 1, 0.5 * (1 + q * q) * _sensitivity(q, concentration))]


def von_mises_reference_grad(q: Tensor, grad: Tensor, loc: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    return grad, grad * _sensitivity(q, concentration)


VON_MISES_LAW = Law(
    name="von_mises",
    parameters=("loc", "concentration"),
    noise=noise_of("von_mises", 2, Part(VON_MISES, second_of), values=1, slopes=_slopes),
    reference=von_mises_reference,
    reference_grad=von_mises_reference_grad,
)
