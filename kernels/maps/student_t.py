"""Student's t: loc + scale * cos(angle) * sqrt(df (exp(2 E / df) - 1)), E standard exponential, the angle uniform.

Source: Bailey, "Polar generation of random variates with the t-distribution" (1994): no rejection, and gradients in
closed form. The normal law's Box and Muller pair is its limit at large df.
"""

# Names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: SIM300
from __future__ import annotations

import math

import torch
from torch import Tensor

from ..devicemath import divide, exp, expm1, exponential_of_centered, sincos
from ..language import tl, triton
from ..loops.noise import Blocks, LoopNoise, attempt_words
from ..noise import (
    centered_of_words,
    compute_dtype,
    exponential_of_element,
    open_unit,
    open_unit_device,
    signed32,
    signed64,
)
from ..polynomial import polynomial, polynomial_device
from ..special import half_step_slope, log1p_of_square, log_half_step
from .map import Map
from .support import Support, finite, finite_device

# 1 + q / (exp(-q) - 1) = -q / 2 - q**2 / 12 + q**4 / 720 - ..., over q, next to 0.
_SLOPE = (-1 / 2, -1 / 12, 0.0, 1 / 720, 0.0, -1 / 30240, 0.0, 1 / 1209600)
_DEVICE_SLOPE = tl.constexpr(_SLOPE)

# (E, cos(angle)).
Noise = tuple[Tensor, Tensor]


def _noise(blocks: Blocks, df: Tensor, loc: Tensor, scale: Tensor, dtype: torch.dtype) -> Noise:
    words = blocks.words(0, 0)
    if compute_dtype(dtype) == torch.float32:
        turns = open_unit(words[1], words[1], dtype)
        return exponential_of_element(signed32(words[0]), dtype), torch.cos(turns * (2 * math.pi))
    turns = open_unit(words[2], words[3], dtype)
    return exponential_of_element(signed64(words[0], words[1]), dtype), torch.cos(turns * (2 * math.pi))


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


@triton.jit
def _noise_device(c0, c1, k0, k1, df, loc, scale, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    w0, w1, w2, w3 = attempt_words(c0, c1, tl.full((), 0, tl.uint32), 0, k0, k1, HARDWARE)
    e = exponential_of_centered(centered_of_words(w0, w1, DTYPE), False, HARDWARE)
    if DTYPE == tl.float64:
        return e, tl.cos(open_unit_device(w2, w3, DTYPE) * 6.283185307179586)
    else:
        angle = w1.to(tl.int32, bitcast=True).to(tl.float32) * (6.283185307179586 * 2.0**-32)
        return e, sincos(angle, HARDWARE)[1]


def _standard(noise: Noise, df: Tensor) -> Tensor:
    e, cosine = noise
    half = e / df
    # The root overflows later than what is under it.
    far = half > 10
    near = torch.sqrt(torch.expm1(2 * torch.where(far, 10.0, half)))
    return cosine * torch.sqrt(df) * torch.where(far, torch.exp(half), near)


def student_t_reference(noise: Noise, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return loc + scale * _standard(noise, df)


def student_t_reference_grad(
    noise: Noise, grad: Tensor, df: Tensor, loc: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    standard = finite(_standard(noise, df))
    q = 2 * noise[0] / df
    close = q < 0.5
    series = torch.where(close, q, 0.0)
    series = series * polynomial(series, _SLOPE)
    slope = torch.where(close, series, 1 + q / torch.expm1(-torch.where(close, 1.0, q)))
    moved = torch.clamp(slope / df, -1e37, 1e37)
    return grad * scale * (0.5 * standard * moved), grad, grad * standard


@triton.jit
def _standard_device(noise, df, HARDWARE: tl.constexpr):
    half = divide(noise[0], df, HARDWARE)
    near = tl.sqrt(expm1(2.0 * tl.minimum(half, 10.0), HARDWARE))
    return noise[1] * tl.sqrt(df) * tl.where(half > 10.0, exp(half, HARDWARE), near)


@triton.jit
def student_t_transform(noise, df, loc, scale, HARDWARE: tl.constexpr):
    return loc + scale * _standard_device(noise, df, HARDWARE)


@triton.jit
def student_t_transform_grad(noise, grad, df, loc, scale, HARDWARE: tl.constexpr):
    standard = finite_device(_standard_device(noise, df, HARDWARE))
    q = divide(2.0 * noise[0], df, HARDWARE)
    series = q * polynomial_device(q, _DEVICE_SLOPE)
    slope = tl.where(q < 0.5, series, 1.0 + divide(q, expm1(-q, HARDWARE), HARDWARE))
    moved = tl.minimum(tl.maximum(divide(slope, df, HARDWARE), -1e37), 1e37)
    return grad * scale * (0.5 * standard * moved), grad, grad * standard


STUDENT_T_MAP = Map(
    name="student_t",
    parameters=("df", "loc", "scale"),
    noise=LoopNoise("polar", 2, _noise, _noise_device),
    reference=student_t_reference,
    reference_grad=student_t_reference_grad,
    # Heavy tails may overflow in any dtype.
    support=Support(-math.inf, math.inf),
    transform=student_t_transform,
    transform_grad=student_t_transform_grad,
)
