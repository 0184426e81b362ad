"""Student's t: loc + scale * a * sqrt(df (exp(r / df) - 1) / r), r = a**2 + b**2, a and b standard normal.

Source: Bailey, "Polar generation of random variates with the t-distribution" (1994), where r / 2 is exponential and
a / sqrt(r) the cosine of a uniform angle: no rejection, and gradients in closed form. In the limit of large df it is a.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formula.polynomial import polynomial
from ..formula.special import half_step_slope, log1p_of_square, log_half_step
from ..stream.noise import NORMAL, NoisePair
from .law import Law
from .support import Support, finite

# 1 + q / (exp(-q) - 1) = -q / 2 - q**2 / 12 + q**4 / 720 - ..., over q, next to 0.
_SLOPE = (-1 / 2, -1 / 12, 0.0, 1 / 720, 0.0, -1 / 30240, 0.0, 1 / 1209600)

Noise = tuple[Tensor, Tensor]


def student_t_log_prob(x: Tensor, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Log-density; with many degrees of freedom its terms do not cancel, and it is the normal one in the end."""
    y = (x - loc) / scale
    t = y / torch.sqrt(df)
    # Here log(1 + t**2) is t**2, which may underflow.
    normal = torch.abs(t) < 0.1 * torch.finfo(df.dtype).eps ** 0.5
    of_normal = 0.5 * y * y + 0.5 * t * t
    of_t = 0.5 * (torch.where(normal, 1.0, df) + 1) * log1p_of_square(torch.where(normal, 1.0, t))
    log_peak = log_half_step(0.5 * df) - 0.5 * math.log(2 * math.pi) - torch.log(scale)
    return log_peak - torch.where(normal, of_normal, of_t)


def student_t_entropy(df: Tensor, scale: Tensor) -> Tensor:
    """Entropy; with many degrees of freedom its terms do not cancel."""
    a = 0.5 * df
    of_slope = (1 + 0.5 / a) * half_step_slope(a) + 0.25 / a
    return torch.log(scale) + 0.5 * math.log(2 * math.pi) + 0.5 + of_slope - log_half_step(a)


def _standard(noise: Noise, df: Tensor) -> Tensor:
    a, b = noise
    r = a * a + b * b
    q = r / df
    # The root overflows later than what is under it.
    far = q > 20
    root = torch.where(far, torch.exp(0.5 * q), torch.sqrt(torch.expm1(torch.where(far, 20.0, q))))
    return torch.where(a == 0, 0.0, a * (torch.sqrt(df) * torch.rsqrt(r)) * root)


def student_t_reference(noise: Noise, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return loc + scale * _standard(noise, df)


def student_t_reference_grad(
    noise: Noise, grad: Tensor, df: Tensor, loc: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    # Derived, terms cancel with many degrees of freedom: in float32 2e-4 of the gradient of 300.
    a, b = noise
    standard = finite(_standard(noise, df))
    q = (a * a + b * b) / df
    close = q < 0.5
    series = torch.where(close, q, 0.0)
    series = series * polynomial(series, _SLOPE)
    slope = torch.where(close, series, 1 + q / torch.expm1(-torch.where(close, 1.0, q)))
    moved = torch.clamp(slope / df, -1e37, 1e37)
    return grad * scale * (0.5 * standard * moved), grad, grad * standard


STUDENT_T_LAW = Law(
    name="student_t",
    parameters=("df", "loc", "scale"),
    noise=NoisePair(NORMAL, NORMAL),
    reference=student_t_reference,
    reference_grad=student_t_reference_grad,
    # Heavy tails may overflow in any dtype.
    support=Support(-math.inf, math.inf),
)
