"""What noise that counts shares: exponential arrivals for small means, transformed rejection for large ones.

Sources: Hörmann, "The transformed rejection method for generating Poisson random variables" (1993), whose candidate is
k = floor((2 a / s + b) U + c), s = 1/2 - |U|, with U uniform in (-1/2, 1/2), taken with a probability proportional to
(a / s**2 + b) p(k). Loader, "Fast and accurate computation of binomial probabilities" (2000), whose form of p(k) does
not cancel at large counts.
"""

# Names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: SIM300
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..devicemath import divide, log
from ..language import tl, triton
from ..noise import EXPONENTIAL, centered_of_words, compute_dtype, open_unit, open_unit_device, signed32, signed64
from ..noise import centered_of_element as centered
from ..polynomial import polynomial, polynomial_device
from .noise import Blocks, any_of, attempt_words

# From this mean on counts are made by rejection.
LARGE_MEAN = 10.0
DEVICE_LARGE_MEAN = tl.constexpr(LARGE_MEAN)

HALF_LOG_2_PI = 0.9189385332046727
SQRT_2_PI = 2.5066282746310002
_DEVICE_HALF_LOG_2_PI = tl.constexpr(HALF_LOG_2_PI)

# k times the error of Stirling's formula as a polynomial of k**-2, minimax for whole k >= 1: error 2.1e-10.
_STIRLING = (
    0.0833333282118195,
    -0.002777255875585051,
    0.0007795300536326786,
    -0.0004499224069420971,
    0.000175787016960612,
)
_DEVICE_STIRLING = tl.constexpr(_STIRLING)
# artanh(v) / v**3 - v**-2 as a polynomial of v**2: its series, for |v| < 0.1 to 1e-11.
_ARTANH = (1 / 3, 1 / 5, 1 / 7, 1 / 9, 1 / 11)
_DEVICE_ARTANH = tl.constexpr(_ARTANH)

# A candidate's (center c, a, b), and the value of (a / s**2 + b) p(k) at which acceptance is certain, p(k) being the
# mass.
Hat = tuple[Tensor, Tensor, Tensor, Tensor]


def exponentials(blocks: Blocks, attempt: int, stream: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The standard exponentials of an attempt's block."""
    return EXPONENTIAL.from_words(blocks.words(attempt, stream), dtype)


def stirling(k: Tensor) -> Tensor:
    """log(k! / (sqrt(k) (k / e)**k)) - log(2 pi) / 2 for whole k >= 0, where the k under the root is at least 1."""
    inverse = 1 / torch.where(k < 1, 1.0, k)
    return torch.where(k < 1, -HALF_LOG_2_PI, inverse * polynomial(inverse * inverse, _STIRLING))


def deviance(k: Tensor, mean: Tensor, difference: Tensor) -> Tensor:
    """k log(k / mean) + mean - k, where the difference is k - mean."""
    v = difference / (k + mean)
    square = v * v
    near = difference * v + 2 * k * v * square * polynomial(square, _ARTANH)
    far = k * torch.log(torch.where(k < 1, 1.0, k) / mean) - difference
    return torch.where(torch.abs(v) < 0.1, near, far)


def transformed_rejection(
    blocks: Blocks,
    pending: Tensor,
    out: Tensor,
    hat: Callable[..., Hat],
    mass: Callable[..., Tensor],
    law: Sequence[Tensor],
    dtype: torch.dtype,
    stream: int,
) -> None:
    """Counts of the elements whose numbers are `pending`, written to `out`.

    Args:
        hat: `(*law) -> Hat`
        mass: `(k, *law)`, proportional to the probability of k and 0 where k is no count.
        law: the law's parameters for each element.
    """
    attempt = 0
    while pending.numel() > 0:
        of_pending = [x[pending] for x in law]
        center, a, b, bound = hat(*of_pending)
        count, again = center, torch.ones_like(pending, dtype=torch.bool)
        for t, v in _candidates(blocks[pending], attempt, stream, dtype):
            # t is s with the sign of U: the tails are reached where floating-point numbers are dense.
            s = torch.abs(t)
            k = torch.floor(torch.copysign((2 * a / s + b) * (0.5 - s), t) + center)
            count = torch.where(again, k, count)
            # False for NaN: a loop ends whatever its parameters.
            again &= v * bound > (a / (s * s) + b) * mass(k, *of_pending)
        out[pending] = count
        pending = pending[again]
        attempt += 1


def _candidates(blocks: Blocks, attempt: int, stream: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Two pairs of numbers (in float64 one), uniform in (-1/2, 1/2) and (0, 1)."""
    words = blocks.words(attempt, stream)
    if compute_dtype(dtype) == torch.float32:
        return [(centered(signed32(t), dtype), open_unit(v, v, dtype)) for t, v in (words[:2], words[2:])]
    return [(centered(signed64(words[0], words[1]), dtype), open_unit(words[2], words[3], dtype))]


_exponential_device = EXPONENTIAL.device


@triton.jit
def exponentials_device(c0, c1, t, STREAM: tl.constexpr, k0, k1, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    w0, w1, w2, w3 = attempt_words(c0, c1, t, STREAM, k0, k1, HARDWARE)
    return _exponential_device(w0, w1, w2, w3, DTYPE, HARDWARE)


@triton.jit
def stirling_device(k, HARDWARE: tl.constexpr):
    """Device twin of :func:`stirling`."""
    inverse = divide(tl.full(k.shape, 1.0, k.dtype), tl.where(k < 1.0, 1.0, k), HARDWARE)
    near = inverse * polynomial_device(inverse * inverse, _DEVICE_STIRLING)
    return tl.where(k < 1.0, -_DEVICE_HALF_LOG_2_PI, near)


@triton.jit
def deviance_device(k, mean, difference, HARDWARE: tl.constexpr):
    """Device twin of :func:`deviance`."""
    v = divide(difference, k + mean, HARDWARE)
    square = v * v
    near = difference * v + 2.0 * k * v * square * polynomial_device(square, _DEVICE_ARTANH)
    far = k * log(divide(tl.where(k < 1.0, 1.0, k), mean, HARDWARE), HARDWARE) - difference
    return tl.where(tl.abs(v) < 0.1, near, far)


@triton.jit
def transformed_rejection_device(
    pending,
    hat,
    MASS: tl.constexpr,
    law,
    c0,
    c1,
    k0,
    k1,
    STREAM: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The counts of :func:`transformed_rejection` where `pending`; the hat is here the law's, not a function of it."""
    center, a, b, bound = hat
    count = tl.zeros_like(center)
    t = tl.full((), 0, tl.uint32)
    while any_of(pending):
        candidates = _candidates_device(c0, c1, t, STREAM, k0, k1, DTYPE, HARDWARE)
        for j in tl.static_range(0, len(candidates), 2):
            s = tl.abs(candidates[j])
            inverse = divide(tl.full(s.shape, 1.0, s.dtype), s, HARDWARE)
            x = (2.0 * a * inverse + b) * (0.5 - s)
            k = tl.floor(tl.where(candidates[j] < 0, -x, x) + center)
            count = tl.where(pending, k, count)
            accepted = (a * inverse * inverse + b) * MASS(k, *law, HARDWARE)
            pending = pending & (candidates[j + 1] * bound > accepted)
        t += 1
    return count


@triton.jit
def _candidates_device(c0, c1, t, STREAM: tl.constexpr, k0, k1, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Device twin of :func:`_candidates`, one pair after the other."""
    w0, w1, w2, w3 = attempt_words(c0, c1, t, STREAM, k0, k1, HARDWARE)
    if DTYPE == tl.float64:
        return centered_of_words(w0, w1, DTYPE), open_unit_device(w2, w3, DTYPE)
    else:
        return (
            centered_of_words(w0, w0, DTYPE),
            open_unit_device(w1, w1, DTYPE),
            centered_of_words(w2, w2, DTYPE),
            open_unit_device(w3, w3, DTYPE),
        )
