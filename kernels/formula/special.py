"""Functions that samples and densities are made of and torch lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .polynomial import polynomial
from .trace import Symbol

# lgamma(a + 1/2) - lgamma(a) - log(a) / 2 is 1 / a times this polynomial of 1 / a**2 (Tricomi and Erdelyi 1951).
_HALF_STEP = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432)
# a times its derivative is -1 / a times this one.
_HALF_STEP_SLOPE = tuple((2 * n + 1) * c for n, c in enumerate(_HALF_STEP))


def fused_polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """:func:`polynomial`, of which what is compiled rounds each step once."""
    if not isinstance(x, Symbol):
        return polynomial(x, coefficients)
    p = x.trace.apply("addcmul", (coefficients[-2], x, coefficients[-1]))
    for c in coefficients[-3::-1]:
        p = x.trace.apply("addcmul", (c, p, x))
    return p


def cotangent(t: Tensor) -> Tensor:
    """cot(pi t), t in [-1/2, 1/2]: a standard Cauchy number where t is uniform."""
    # The cotangent is large where t is small, and there t is exact: so are the tails.
    return torch.reciprocal(torch.tan(math.pi * t))


def uniforms(t: Tensor) -> tuple[Tensor, Tensor]:
    """u and 1 - u, both relatively exact: u is t or 1 + t, t uniform in [-1/2, 1/2]."""
    return torch.where(t > 0, t, 1 + t), torch.where(t > 0, 1 - t, -t)


def sin_of_quarter(h: Any) -> Any:
    """sin(h), h in [0, pi / 2]."""
    return h.trace.apply("sin_of_quarter", (h,)) if isinstance(h, Symbol) else torch.sin(h)


def log_of_positive(x: Tensor) -> Tensor:
    """log(x), but 0 with derivative 0 where x is 0: for products with what is 0 there."""
    return torch.log(torch.where(x == 0, 1.0, x))


def log_probability(probs: Tensor) -> Tensor:
    """log(p), -inf with derivative 0 where p is 0."""
    return torch.where(probs == 0, -math.inf, log_of_positive(probs))


def log_chances(x: Tensor, y: Tensor, probs: Tensor) -> Tensor:
    """x log(p) + y log(1 - p) with 0 log(0) = 0; -inf with derivative 0 where a factor of 0 has a power."""
    log_p, log_q = log_of_positive(probs), torch.log1p(-torch.where(probs == 1, 0.0, probs))
    impossible = ((probs == 0) & (x > 0)) | ((probs == 1) & (y > 0))
    return torch.where(impossible, -math.inf, x * log_p + y * log_q)


def log_chances_of_logits(x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """The same of p = sigmoid(logits), exact at any logits."""
    greatest = torch.finfo(logits.dtype).max
    finite = torch.clamp(logits, -greatest, greatest)
    positive = finite > 0
    # At logits of 0 as well one of the two branches has the derivatives; those of clamps and of an absolute value are
    # of a corner.
    softplus = torch.log1p(torch.exp(torch.where(positive, -finite, finite)))
    result = torch.where(positive, -y * finite, x * finite) - (x + y) * softplus
    return torch.where(result <= -greatest, -math.inf, result)


def binary_entropy(probs: Tensor) -> Tensor:
    """-p log(p) - (1 - p) log(1 - p), with a finite derivative also at 0 and 1."""
    least = torch.finfo(probs.dtype).tiny
    q = 1 - probs
    return -probs * torch.log(probs.clamp(min=least)) - q * torch.where(
        probs < 0.5, torch.log1p(-torch.where(probs < 0.5, probs, 0.0)), torch.log(q.clamp(min=least))
    )


def binary_entropy_of_logits(logits: Tensor) -> Tensor:
    """The same of p = sigmoid(logits), exact at any logits."""
    # Not an absolute value, whose corner at 0 would take the second derivative with it.
    magnitude = torch.where(logits > 0, logits, -logits).clamp(max=torch.finfo(logits.dtype).max)
    return torch.log1p(torch.exp(-magnitude)) + magnitude * torch.sigmoid(-magnitude)


def log1p_of_square(x: Tensor) -> Tensor:
    """log(1 + x**2) where the square overflows, too."""
    large = torch.abs(x) > 1e9
    small = torch.where(large, 0.0, x)
    return torch.where(large, 2 * torch.log(torch.abs(torch.where(large, x, 1.0))), torch.log1p(small * small))


def _far_from_zero(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the series of five terms hold, the argument of the closed form elsewhere, and 1 / a of the series."""
    bound = 20.0 if a.dtype == torch.float64 else 4.0
    far = a > bound
    return far, torch.where(far, 1.0, a), 1 / torch.where(far, a, bound)


def log_half_step(a: Tensor) -> Tensor:
    """lgamma(a + 1/2) - lgamma(a) - log(a) / 2: its terms do not cancel."""
    far, near_a, inverse = _far_from_zero(a)
    closed = torch.lgamma(near_a + 0.5) - torch.lgamma(near_a) - 0.5 * torch.log(near_a)
    return torch.where(far, inverse * polynomial(inverse * inverse, _HALF_STEP), closed)


def half_step_slope(a: Tensor) -> Tensor:
    """a times the derivative of `log_half_step`."""
    far, near_a, inverse = _far_from_zero(a)
    closed = near_a * (torch.digamma(near_a + 0.5) - torch.digamma(near_a)) - 0.5
    return torch.where(far, -inverse * polynomial(inverse * inverse, _HALF_STEP_SLOPE), closed)


def in_double(function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """A function of tensors in float64, for sums of large terms that cancel; its result is rounded to their dtype.

    In float32 on a device that has no float64.
    """
    dtype = torch.promote_types(operands[0].dtype, operands[-1].dtype)
    wide = torch.float32 if operands[-1].device.type == "mps" else torch.float64
    return function(*(t.to(wide) for t in operands)).to(dtype)
