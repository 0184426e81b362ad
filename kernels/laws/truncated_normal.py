"""Truncated normal: a normal variate, conditioned on an interval, by the inverse of its distribution function.

In units of scale around loc the interval is [a, b] and the sample z; mirrored where need be, so that a is the end
nearer to 0. Let Q be the upper tail of the standard normal distribution and v uniform; z solves

    Q(z) = (1 - v) Q(a) + v Q(b),

by one of Halley's steps for log Q, which is nearly quadratic, from a start of four digits (two steps in float64). All
masses are relative to exp(-c**2 / 2), with c = a where 0 is outside of the interval and c = 0 elsewhere, and z is
found as its distance from c: so neither an interval thirty deviations out underflows, nor is the sample's place in it
rounded to the precision of a. Where 0 is inside, the smaller of the two tails at z is used. An interval so narrow
that differences of Q would cancel is treated with the series of the density around its middle m, which is c then.

With z found, the distances from both ends and the masses give everything else. The weights

    N = (1 - v) exp((z**2 - a**2) / 2),  F = v exp((z**2 - b**2) / 2)

say how z moves with the near end a and the far end b; H = exp(-a**2 / 2) / Z and exp(-b**2 / 2) / Z, where Z is the
interval's mass times the root of 2 pi, is the density at the ends.

Sources: Robert, "Simulation of truncated normal variables" (1995), for the distribution; Figurnov, Mohamed and Mnih,
"Implicit reparameterization gradients" (2018), for the weights.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..formula.special import uniforms
from ..stream.noise import CENTERED
from .law import Density, Law
from .normal_tail import scaled_tail, tail_start
from .support import REAL_LINE

_SQRT_2_PI = math.sqrt(2 * math.pi)
# Infinite bounds are taken to lie here, in the sample's units and in those of scale: finite numbers have derivatives.
_FAR, _FAR_STANDARD = 1e25, 1e15
# An a beyond this finds its start next to itself.
_STEEP = 30.0


class Interval(NamedTuple):
    """What depends on the parameters only: the interval in units of scale, mirrored so that a + b >= 0.

    `flip` is whether it is mirrored, `narrow` and `tail` which of the three cases it is (narrow first, then not
    containing 0), `c` the point that exponents and masses are relative to. `upper`, `lower` and `far` are the masses
    above a, below a (where 0 is inside) and above b; `near_exponent` and `far_exponent` are (c**2 - a**2) / 2 and
    (c**2 - b**2) / 2, and `total` is Z exp(c**2 / 2). `p`, `q` and `h` are m h, h**2 and half
    the width of a narrow one.
    """

    flip: Tensor
    narrow: Tensor
    tail: Tensor
    a: Tensor
    b: Tensor
    width: Tensor
    c: Tensor
    upper: Tensor
    lower: Tensor
    far: Tensor
    near_exponent: Tensor
    far_exponent: Tensor
    total: Tensor
    p: Tensor
    q: Tensor
    h: Tensor


class Solution(NamedTuple):
    """z, its distances from a and b, (c**2 - z**2) / 2, and the distance from where the sample is counted."""

    z: Tensor
    from_near: Tensor
    to_far: Tensor
    exponent: Tensor
    offset: Tensor


def interval(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Interval:
    first, last = torch.clamp(low, -_FAR, _FAR), torch.clamp(high, -_FAR, _FAR)
    alpha = torch.clamp((first - loc) / scale, -_FAR_STANDARD, _FAR_STANDARD)
    beta = torch.clamp((last - loc) / scale, -_FAR_STANDARD, _FAR_STANDARD)
    width = torch.clamp((last - first) / scale, 0.0, 2 * _FAR_STANDARD)
    flip = alpha + beta < 0
    a, b = torch.where(flip, -beta, alpha), torch.where(flip, -alpha, beta)
    middle = 0.5 * (a + b)
    narrow = width * (1 + torch.abs(middle)) < (0.25 if loc.dtype == torch.float32 else 0.02)

    # Each case gets harmless arguments where another one holds.
    h = torch.where(narrow, 0.5 * width, 0.0)
    p, q = torch.where(narrow, middle, 0.0) * h, h * h
    _, h2, _, h4, _, h6 = _hermite(p, q)
    narrow_total = 2 * h * (1 + h2 / 6 + h4 / 120 + h6 / 5040)

    wide_a, wide_b, wide_width = (
        torch.where(narrow, 0.0, a),
        torch.where(narrow, 1.0, b),
        torch.where(narrow, 1.0, width),
    )
    tail = wide_a >= 0
    c = torch.where(tail, wide_a, 0.0)
    inside = torch.where(tail, 0.0, wide_a)
    at_a = scaled_tail(c - inside)  # |a|, with a derivative at 0
    near_exponent = -0.5 * inside * inside
    far_exponent = -0.5 * torch.where(tail, wide_width, wide_b) * torch.where(tail, wide_a + wide_b, wide_b)
    far = scaled_tail(wide_b) * torch.exp(far_exponent)
    lower = at_a * torch.exp(near_exponent)
    upper = torch.where(tail, at_a, 1 - lower)
    return Interval(
        flip=flip,
        narrow=narrow,
        tail=tail,
        a=a,
        b=b,
        width=width,
        c=torch.where(narrow, middle, c),
        upper=upper,
        lower=lower,
        far=far,
        near_exponent=torch.where(narrow, p - 0.5 * q, near_exponent),
        far_exponent=torch.where(narrow, -p - 0.5 * q, far_exponent),
        total=torch.where(narrow, narrow_total, _SQRT_2_PI * (upper - far)),
        p=p,
        q=q,
        h=h,
    )


def solve(interval: Interval, u: Tensor, complement: Tensor) -> Solution:
    """Where the distribution function is u, and 1 - u is `complement`."""
    flip, narrow, tail = interval.flip, interval.narrow, interval.tail
    v, rest = torch.where(flip, complement, u), torch.where(flip, u, complement)

    position = _solve_narrow(interval.p, interval.q, 0.5 * (v - rest))

    # The upper tail at z or, where z is below 0, the lower one.
    above = interval.upper * rest + interval.far * v
    below = torch.where(tail, 2.0, interval.lower * rest + (1 - interval.far) * v)
    mass = torch.where(below < above, below, above)  # one of them has the derivative where they are equal
    c = torch.where(narrow, 0.0, interval.c)
    log_mass = torch.log(mass)
    steep = c > _STEEP
    gentle_c, steep_c = torch.where(steep, 0.0, c), torch.where(steep, c, 1.0)
    gentle = tail_start(torch.sqrt(gentle_c * gentle_c - 2 * torch.where(steep, -1.0, log_mass)))
    fallen = torch.clamp(torch.where(steep, torch.log(interval.upper) - log_mass, 0.0), 0.0, 100.0)
    # Q falls off as exp(-c d - d**2 / 2) and a little faster.
    distance = torch.where(
        steep, 2 * fallen / (steep_c + torch.sqrt(steep_c * steep_c + 2 * fallen)), gentle - gentle_c
    )
    for _ in range(1 if v.dtype == torch.float32 else 2):
        z = c + distance
        ratio = scaled_tail(z)
        excess = torch.log(ratio) - log_mass - 0.5 * distance * (c + z)
        ratio = _SQRT_2_PI * ratio
        distance = distance + excess * ratio / (1 + 0.5 * excess * (1 - z * ratio))

    # Of two numbers torch makes a tensor of the default dtype.
    z = torch.where(below < above, -1.0, 1.0).to(c.dtype) * (c + distance)
    from_near = torch.where(tail, distance, z - interval.a)
    to_far = torch.where(tail, interval.width - distance, interval.b - z)
    moved = interval.h * position
    return Solution(
        z=torch.where(narrow, interval.c + moved, z),
        from_near=torch.where(narrow, interval.h + moved, from_near),
        to_far=torch.where(narrow, interval.h - moved, to_far),
        exponent=torch.where(
            narrow,
            -position * (interval.p + 0.5 * interval.q * position),
            -0.5 * distance * (2 * c + distance),
        ),
        offset=torch.where(narrow, moved, torch.where(tail, distance, z)),
    )


def _hermite(p: Tensor, q: Tensor) -> tuple[Tensor, ...]:
    """Hermite's polynomials 1 to 6 of m times powers of h, from p = m h and q = h**2."""
    h1 = p
    h2 = p * h1 - q
    h3 = p * h2 - 2 * q * h1
    h4 = p * h3 - 3 * q * h2
    h5 = p * h4 - 4 * q * h3
    h6 = p * h5 - 5 * q * h4
    return h1, h2, h3, h4, h5, h6


def _mass_to(position: Tensor, hermite: tuple[Tensor, ...]) -> Tensor:
    """The integral of exp(-p x - q x**2 / 2) from 0 to `position`, by its series."""
    h1, h2, h3, h4, h5, h6 = hermite
    series = position * (h4 / 120 + position * (-h5 / 720 + position * (h6 / 5040)))
    series = position * (-h1 / 2 + position * (h2 / 6 + position * (-h3 / 24 + series)))
    return position * (1 + series)


def _solve_narrow(p: Tensor, q: Tensor, level: Tensor) -> Tensor:
    """The place in [-1, 1] below which lies the fraction 1/2 + level of a density exp(-p x - q x**2 / 2) there."""
    hermite = _hermite(p, q)
    h1, h2, h3, h4, h5, h6 = hermite
    target = 2 * level * (1 + h2 / 6 + h4 / 120 + h6 / 5040) - (h1 / 2 + h3 / 24 + h5 / 720)
    x = target * (1 + target * (p / 2 + target * ((2 * p * p + q) / 6)))
    step = (_mass_to(x, hermite) - target) * torch.exp(x * (p + 0.5 * q * x))
    return x - step * (1 - 0.5 * step * (p + q * x))


def moments(cut: Interval) -> tuple[Tensor, Tensor]:
    """E z - c and E z**2 - c**2."""
    near, far = _end_densities(cut)
    # c is 0 or a.
    mean = near - cut.c - far
    excess = 1 - cut.c * (cut.c - near) - (cut.c - cut.a) * near - cut.b * far
    narrow_mean, narrow_square = narrow_moments(cut)
    narrow_excess = 2 * cut.c * narrow_mean + narrow_square
    return torch.where(cut.narrow, narrow_mean, mean), torch.where(cut.narrow, narrow_excess, excess)


def _end_densities(cut: Interval) -> tuple[Tensor, Tensor]:
    """H at both ends."""
    return torch.exp(cut.near_exponent) / cut.total, torch.exp(cut.far_exponent) / cut.total


def narrow_moments(cut: Interval) -> tuple[Tensor, Tensor]:
    """The first two moments of z - m in a narrow interval."""
    h1, h2, h3, h4, h5, h6 = _hermite(cut.p, cut.q)
    total = 1 + h2 / 6 + h4 / 120 + h6 / 5040
    first = -(h1 / 3 + h3 / 30 + h5 / 840) / total
    return cut.h * first, cut.q * (1 / 3 + h2 / 10 + h4 / 168 + h6 / 6480) / total


def origin(cut: Interval, loc: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where c lies: a sample is counted from there."""
    start = torch.where(cut.tail, torch.where(cut.flip, high, low), loc)
    return torch.where(cut.narrow, low + 0.5 * (high - low), start)


def sample_at(solution: Solution, interval: Interval, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The sample, counted from the nearest of loc, an end and the middle, and within the bounds."""
    sample = origin(interval, loc, low, high) + torch.where(interval.flip, -scale, scale) * solution.offset
    return torch.minimum(torch.maximum(sample, low), high)


def _solved(t: Tensor, *params: Tensor) -> tuple[Interval, Solution, Tensor, Tensor]:
    """The interval, the solution, and the weights N and F."""
    cut = interval(*params)
    u, complement = uniforms(t)
    solution = solve(cut, u, complement)
    near = torch.where(cut.flip, u, complement) * torch.exp(cut.near_exponent - solution.exponent)
    far = torch.where(cut.flip, complement, u) * torch.exp(cut.far_exponent - solution.exponent)
    return cut, solution, near, far


def _of_loc_and_scale(solution: Solution, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """How the sample moves with loc and scale, in the mirrored direction, from the weights."""
    of_loc = 1 - near - far
    return of_loc, solution.z * of_loc + near * solution.from_near - far * solution.to_far


def truncated_normal_reference(t: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    cut = interval(loc, scale, low, high)
    return sample_at(solve(cut, *uniforms(t)), cut, loc, scale, low, high)


def truncated_normal_reference_grad(
    t: Tensor, grad: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, ...]:
    cut, solution, near, far = _solved(t, loc, scale, low, high)
    of_loc, of_scale = _of_loc_and_scale(solution, near, far)
    of_scale = torch.where(cut.flip, -of_scale, of_scale)
    of_low, of_high = torch.where(cut.flip, far, near), torch.where(cut.flip, near, far)
    return grad * of_loc, grad * of_scale, grad * of_low, grad * of_high


def truncated_normal_log_prob_reference(t: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    cut = interval(loc, scale, low, high)
    return solve(cut, *uniforms(t)).exponent - torch.log(cut.total * scale)


def _scores(
    cut: Interval, solution: Solution, scale: Tensor, of_loc: Tensor | float, of_scale: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Gradients of loc and scale, whose sample moves by `of_loc` and `of_scale` in the mirrored direction."""
    mean, excess = moments(cut)
    first = solution.offset - mean - solution.z * of_loc
    second = solution.offset * (2 * cut.c + solution.offset) - excess - solution.z * of_scale
    return torch.where(cut.flip, -first, first) / scale, second / scale


def truncated_normal_log_prob_reference_grad(
    t: Tensor, grad: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, ...]:
    cut, solution, near, far = _solved(t, loc, scale, low, high)
    of_loc, of_scale = _of_loc_and_scale(solution, near, far)
    score_loc, score_scale = _scores(cut, solution, scale, of_loc, of_scale)
    at_near, at_far = _end_densities(cut)
    of_near, of_far = (at_near - solution.z * near) / scale, (-at_far - solution.z * far) / scale
    of_low, of_high = torch.where(cut.flip, -of_far, of_near), torch.where(cut.flip, -of_near, of_far)
    return grad * score_loc, grad * score_scale, grad * of_low, grad * of_high


def truncated_normal_reference_score(
    t: Tensor, grad: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, ...]:
    cut = interval(loc, scale, low, high)
    score_loc, score_scale = _scores(cut, solve(cut, *uniforms(t)), scale, 0.0, 0.0)
    at_near, at_far = _end_densities(cut)
    of_low, of_high = torch.where(cut.flip, at_far, at_near) / scale, -torch.where(cut.flip, at_near, at_far) / scale
    return grad * score_loc, grad * score_scale, grad * of_low, grad * of_high


def _distance(cut: Interval, x: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far x lies from c, in units of scale, in the mirrored direction."""
    start = origin(cut, loc, low, high)
    return torch.where(cut.flip, start - x, x - start) / scale


def truncated_normal_log_prob(x: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Log-density at x inside of the interval."""
    cut = interval(loc, scale, low, high)
    distance = _distance(cut, x, loc, scale, low, high)
    return -0.5 * distance * (2 * cut.c + distance) - torch.log(cut.total * scale)


def truncated_normal_cdf(x: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Distribution function at x inside of the interval."""
    cut = interval(loc, scale, low, high)
    distance = _distance(cut, x, loc, scale, low, high)
    hermite = _hermite(cut.p, cut.q)
    position = torch.where(cut.narrow, distance / torch.where(cut.narrow, cut.h, 1.0), 0.0)
    of_narrow = cut.h * (_mass_to(position, hermite) - _mass_to(-torch.ones_like(position), hermite))
    # Between a and x lies what is above a and not above x; where x is below 0, what is below x and not below a.
    distance = torch.where(cut.narrow, 0.0, distance)
    c = torch.where(cut.narrow, 0.0, cut.c)
    # At a distance of 0 the branch that is taken has the derivative, which an absolute value has not.
    magnitude = torch.where(distance < 0, -distance, distance)
    beyond = scaled_tail(c + magnitude) * torch.exp(-0.5 * distance * (2 * c + distance))
    mass = torch.where(torch.where(cut.tail, 0.0, distance) < 0, beyond - cut.lower, cut.upper - beyond)
    fraction = torch.where(cut.narrow, of_narrow, _SQRT_2_PI * mass) / cut.total
    return torch.where(cut.flip, 1 - fraction, fraction)


def truncated_normal_icdf(u: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The inverse of the distribution function."""
    cut = interval(loc, scale, low, high)
    return sample_at(solve(cut, u, 1 - u), cut, loc, scale, low, high)


TRUNCATED_NORMAL_LAW = Law(
    name="truncated_normal",
    parameters=("loc", "scale", "low", "high"),
    noise=CENTERED,
    reference=truncated_normal_reference,
    reference_grad=truncated_normal_reference_grad,
    support=REAL_LINE,
    density=Density(
        at=truncated_normal_log_prob,
        reference=truncated_normal_log_prob_reference,
        reference_grad=truncated_normal_log_prob_reference_grad,
        reference_score=truncated_normal_reference_score,
    ),
)
