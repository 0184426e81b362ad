"""Standard gamma noise: g of the gamma law with a concentration and rate 1, as concentration * ratio * exp(power).

The power is 0 except for concentrations below 1, where g itself would underflow.

Source: Marsaglia and Tsang, "A simple method for generating gamma variables" (2000). With d = a - 1/3 and
y = z / sqrt(9 d), z standard normal, g = d (1 + y)**3 is taken with probability exp(-3 d r(y)),
r(y) = y - y**2 / 2 + y**3 / 3 - log(1 + y): their condition, without its cancellation at large d. For a concentration
below 1, it is g of concentration + 1 times u**(1 / concentration) (section 6 there). A block holds two attempts in
float32, of which the first is preferred.
"""

# Names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: SIM300
from __future__ import annotations

import torch
from torch import Tensor

from ..devicemath import divide, exponential_of_centered, log1p, log2
from ..language import tl, triton
from ..noise import (
    NORMAL,
    box_muller,
    centered_of_words,
    compute_dtype,
    exponential_of_element,
    normal_from_words,
    open_unit,
    open_unit_device,
    signed32,
    signed64,
)
from ..polynomial import polynomial, polynomial_device
from .noise import DEVICE_ONCE, ONCE, Blocks, any_of, attempt_words

# r(y) / y**4, minimax on [-1/4, 1/4]: relative error 3e-5. Farther out, and in float64, the formula itself does.
_REJECTION = (0.25000019, -0.19985479, 0.16651181, -0.15201389, 0.13363388)
_DEVICE_REJECTION = tl.constexpr(_REJECTION)


# Lower concentrations count as this, at which ratio and power are finite, and g is 0 as it is at all of them.
_LEAST, _LEAST64 = 2.0**-100, 2.0**-900


def floored(concentration: Tensor) -> Tensor:
    """A concentration of which gamma noise is finite; what is negative stays so, and makes NaN."""
    least = _LEAST64 if concentration.dtype == torch.float64 else _LEAST
    return torch.where(torch.abs(concentration) < least, least, concentration)


def gamma_noise(blocks: Blocks, concentration: Tensor, dtype: torch.dtype, stream: int = 0) -> tuple[Tensor, Tensor]:
    """(ratio, power) for each element."""
    concentration = floored(concentration)
    small = concentration < 1
    d = concentration + (small.to(concentration.dtype) - 1 / 3)
    y = torch.empty_like(d)
    pending, attempt = torch.arange(y.numel(), device=y.device), 0
    while pending.numel() > 0:
        first, second, u = _candidates(blocks[pending], attempt, stream, dtype)
        of_pending = d[pending]
        width = 1 / torch.sqrt(9 * of_pending)
        first, second = first * width, second * width
        rejected = _rejected(first, u[0], of_pending)
        y[pending] = torch.where(rejected, second, first)
        pending = pending[rejected & _rejected(second, u[1], of_pending)]
        attempt += 1
    ratio = d / concentration * (1 + y) ** 3
    power = _exponential_once(blocks, stream, dtype) / torch.where(small, concentration, 1.0)
    return ratio, torch.where(small, -power, 0.0)


def _candidates(blocks: Blocks, attempt: int, stream: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Two standard normals, and two uniform numbers to judge them by."""
    words = blocks.words(attempt, stream)
    if compute_dtype(dtype) == torch.float32:
        first, second = normal_from_words(words, dtype)[:2]
        return first, second, [open_unit(w, w, dtype) for w in words[2:]]
    first, second = normal_from_words(words, dtype)
    more = blocks.words(attempt, stream + 1)
    return first, second, [open_unit(more[i], more[i + 1], dtype) for i in (0, 2)]


def _rejected(y: Tensor, u: Tensor, d: Tensor) -> Tensor:
    # False for NaN: a loop ends whatever its parameters.
    inside = torch.where(y > -1, y, 0.0)
    r = inside - inside * inside * (0.5 - inside / 3) - torch.log1p(inside)
    if y.dtype == torch.float32:
        r = torch.where(torch.abs(y) < 0.25, (inside * inside) ** 2 * polynomial(inside, _REJECTION), r)
    return (y <= -1) | (u > torch.exp(-3 * d * r))


def _exponential_once(blocks: Blocks, stream: int, dtype: torch.dtype) -> Tensor:
    words = blocks.words(ONCE, stream)
    narrow = compute_dtype(dtype) == torch.float32
    return exponential_of_element(signed32(words[0]) if narrow else signed64(words[0], words[1]), dtype)


_normal_device = NORMAL.device


@triton.jit
def _candidates_device(c0, c1, t, STREAM: tl.constexpr, k0, k1, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    w0, w1, w2, w3 = attempt_words(c0, c1, t, STREAM, k0, k1, HARDWARE)
    if DTYPE == tl.float64:
        first, second = _normal_device(w0, w1, w2, w3, DTYPE, HARDWARE)
        w0, w1, w2, w3 = attempt_words(c0, c1, t, STREAM + 1, k0, k1, HARDWARE)
        return first, second, open_unit_device(w0, w1, DTYPE), open_unit_device(w2, w3, DTYPE)
    else:
        first, second = box_muller(w0, w1, HARDWARE)
        return first, second, open_unit_device(w2, w2, DTYPE), open_unit_device(w3, w3, DTYPE)


@triton.jit
def _rejected_device(y, u, d, HARDWARE: tl.constexpr):
    square = y * y
    if y.dtype == tl.float64:
        r = y - square * (0.5 - y * (1.0 / 3)) - log1p(tl.where(y > -1.0, y, 0.0), HARDWARE)
        taken = tl.exp(-3.0 * d * r)
    else:
        series = tl.fma(square, tl.fma(y, 1.0 / 3, -0.5), y)
        far = tl.fma(log2(1.0 + y, HARDWARE), -0.69314718, series)
        r = tl.where(tl.abs(y) < 0.25, square * square * polynomial_device(y, _DEVICE_REJECTION), far)
        taken = tl.exp2(d * (-3.0 * 1.44269504) * r)
    return (y <= -1.0) | (u > taken)


@triton.jit
def floored_device(concentration):
    """Device twin of :func:`floored`."""
    least = 1.1832913578315177e-271 if concentration.dtype == tl.float64 else 7.888609052210118e-31
    return tl.where(tl.abs(concentration) < least, least, concentration)


@triton.jit
def gamma_noise_device(
    c0, c1, k0, k1, concentration, STREAM: tl.constexpr, DTYPE: tl.constexpr, HARDWARE: tl.constexpr
):
    """Device twin of :func:`gamma_noise`."""
    small = concentration < 1.0
    d = concentration + (small.to(concentration.dtype) - 1.0 / 3)
    width = 1.0 / tl.sqrt(9.0 * d) if d.dtype == tl.float64 else tl.rsqrt(9.0 * d)
    y = tl.zeros_like(d)
    pending = tl.full(d.shape, 1, tl.int1)
    t = tl.full((), 0, tl.uint32)
    while any_of(pending):
        first, second, u, v = _candidates_device(c0, c1, t, STREAM, k0, k1, DTYPE, HARDWARE)
        first *= width
        y = tl.where(pending, first, y)
        # r(y) is at most y**4 / 4, over 1 + y where y < 0, and exp(-3 d r) at least 1 - 3 d r. That accepts most
        # numbers, at large concentrations nearly all; only where it does not suffice the test itself is made.
        square = first * first
        rest = 1.0 - u
        pending = pending & (tl.fma(tl.minimum(first, 0.0), rest, rest) < 0.75 * d * (square * square))
        if any_of(pending):
            second *= width
            rejected = pending & _rejected_device(first, u, d, HARDWARE)
            y = tl.where(rejected, second, y)
            pending = rejected & _rejected_device(second, v, d, HARDWARE)
        t += 1
    y += 1.0
    ratio = divide(d, concentration, HARDWARE) * (y * y * y)
    power = tl.zeros_like(y)
    if any_of(small):
        # Only what is small can be below the least: the way of all others pays nothing for it.
        concentration = floored_device(concentration)
        ratio = divide(d, concentration, HARDWARE) * (y * y * y)
        w0, w1, _, _ = attempt_words(c0, c1, tl.full((), DEVICE_ONCE, tl.uint32), STREAM, k0, k1, HARDWARE)
        e = exponential_of_centered(centered_of_words(w0, w1, DTYPE), False, HARDWARE)
        power = tl.where(small, -divide(e, concentration, HARDWARE), 0.0)
    return ratio, power
