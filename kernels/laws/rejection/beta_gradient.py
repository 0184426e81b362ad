"""The derivatives of beta numbers with respect to their concentrations, by implicit reparameterisation.

x = x(a, b, u) keeps u = F(a, b, x), the regularised incomplete beta function, as a concentration changes, so that
dx/da = -(dF/da) / p(x): a function of the sample and the concentrations alone. Source: Figurnov, Mohamed and Mnih,
"Implicit Reparameterization Gradients" (2018), equation 6. With N = a + b and the logit l of x = x(l), whose density is
f(l) = x**a (1 - x)**b / B(a, b), d log f / da = log x + psi(N) - psi(a), and

    dl/da = integral over t > l of (log x(t) + psi(N) - psi(a)) f(t) / f(l),

or that beyond it with the other sign. dl/db is the same with x and 1 - x, and a and b, exchanged, and the other sign.

- Where the lesser share q, x or 1 - x, is so small that q (N + 10) < 8, and not far above its mean, q N < c + 1 with c
  its concentration (or terms would cancel), the series of the solution of the differential equation

      x (1 - x) dL/dx + (a - N x) L + log x + psi(N) - psi(a) = 0,    L = dl/da,

  in powers of q, which for the share's own concentration has a part with log q.
- Where both concentrations are large, the same equation's expansion: with x = (a / N) (1 + b d), u = b d, v = -a d and
  phi(u) = log(1 + u) / u,

      a L = phi(u) + (b / N (phi'(u) + 1/2) (1 + u) (1 + v) / u + (a / N - b / N + (b / N) a d) / 2) / a + O(a**-2).

- Else Gauss and Legendre's rule on the side that is farther from the mean, up to where the exponent is -13 (-38).

Within 2e-5 (1e-9 in float64) relative.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...formula.cases import Case, by_case
from ...formula.devicemath import divide, exp, expm1, log, log1p
from ...formula.polynomial import polynomial, polynomial_device
from ...runtime.language import tl, triton
from .quadrature import CUTOFF64, RULE64, gauss_legendre

# As in quadrature.py, but that the integrals which are left are not those of exponentials alone.
_RULE, _CUTOFF = gauss_legendre(9), 13.0
_TERMS, _TERMS64 = 24, 44  # of the power series
_LARGE, _LARGE64 = 100.0, 1e5  # the least concentration of the expansion
# What is below, or beyond, counts as this: there a derivative is 0 to rounding, or depends on quotients alone.
_LEAST, _LEAST64 = 1e-18, 1e-150
_MOST, _MOST64 = 1e37, 1e300

# (phi'(u) + 1/2) / u next to 0.
_BEND = (2 / 3, -3 / 4, 4 / 5, -5 / 6, 6 / 7, -7 / 8)
# log(a) - psi(a) = (1/2 + (1/12 - s/120 + s**2/252 - ...) / a) / a, s = 1 / a**2 (Abramowitz and Stegun, "Handbook of
# Mathematical Functions", 6.3.18).
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132)
_SHIFT = 6  # psi(a) is taken from psi(a + 6)


def beta_range(concentration: Tensor) -> Tensor:
    """The concentration, or the nearest that :func:`beta_gradients` takes."""
    wide = concentration.dtype == torch.float64
    return torch.clamp(concentration, _LEAST64 if wide else _LEAST, _MOST64 if wide else _MOST)


def digamma_rise(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """psi(a + b) - psi(a) - log(a + b) + log(a), and that less 1 / a; relative to b where that is small."""
    n = a + b
    low = a < 8
    near = torch.where(low, a, 8.0)
    # log(a (N + 6) / (N (a + 6))), whose quotient is 1 - 6 b / (N (a + 6)).
    part = _SHIFT / (near + _SHIFT) * (b / n)
    direct = torch.where(part > 0.5, near / (near + _SHIFT) * ((n + _SHIFT) / n), 1.0)
    moved = torch.log(direct) + torch.log1p(torch.where(part > 0.5, 0.0, -part))
    for k in range(1, _SHIFT):
        moved = moved + b / (n + k) / (near + k)
    start = torch.where(low, a + _SHIFT, a)
    r, s = 1 / start, 1 / (start + b)
    # The difference of the asymptotic series at a and at N, with r - s = b r s taken out of every term.
    total, power, square, other = torch.zeros_like(r), torch.ones_like(r), r * r, s * s
    sums = torch.ones_like(r)
    for c in _DIGAMMA:
        total = total + c * sums
        power = power * other
        sums = sums * square + power
    smooth = b * s * r * (0.5 + (r + s) * total)
    above = smooth + torch.where(low, moved, 0.0)
    share = b / n / a
    return torch.where(low, above + share, smooth), torch.where(low, above - 1 / n, smooth - 1 / a)


def beta_gradients(delta: Tensor, xi: Tensor, eta: Tensor, a: Tensor, b: Tensor, number: int = 2) -> tuple[Tensor, ...]:
    """d logit(x) / da and -d logit(x) / db, both positive.

    Args:
        delta: x N / a is 1 + b delta, and (1 - x) N / b is 1 - a delta.
        xi, eta: log(x N / a) and log((1 - x) N / b).
        a, b: as :func:`beta_range` makes them.
        number: of the two, how many are wanted.
    """
    n = a + b
    x, y = a / n * torch.exp(xi), b / n * torch.exp(eta)
    rise_a, above_a = digamma_rise(a, b)
    rise_b, above_b = digamma_rise(b, a)

    def expansions(u: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return (_expansion(u, v, a, b), _expansion(v, u, b, a))[:number]

    def lower(*operands: Tensor) -> tuple[Tensor, ...]:
        return _series(*operands)[:number]

    def upper(*operands: Tensor) -> tuple[Tensor, ...]:
        return _series(*operands)[::-1][:number]

    def quadratures(*operands: Tensor) -> tuple[Tensor, ...]:
        return _quadrature(*operands)[:number]

    large = torch.minimum(a, b) > (_LARGE64 if a.dtype == torch.float64 else _LARGE)
    u, v = torch.where(large, b * delta, 0.0), torch.where(large, -a * delta, 0.0)
    is_lower = x <= y
    q, c = torch.where(is_lower, x, y), torch.where(is_lower, a, b)
    above_mean = torch.where(q * (n + 10) < 8, q * n - c, math.inf)
    near, lower_near = above_mean < 1, torch.where(is_lower, above_mean, math.inf) < 1
    small = torch.where(near, q, 0.0)
    # Numbers of which the integral is finite where another formula is taken.
    elsewhere = near | large
    of_x, of_y = torch.where(elsewhere, 0.5, x), torch.where(elsewhere, 0.5, y)
    rate = torch.where(elsewhere, 1.0, torch.abs(a * (b * delta)))
    return by_case(
        Case(large, expansions, (u, v, a, b)),
        Case(lower_near, lower, (small, xi, a, b, above_a, rise_b)),
        Case(near, upper, (small, eta, b, a, above_b, rise_a)),
        Case(
            None,
            quadratures,
            (delta, xi + rise_a, eta + rise_b, of_x, of_y, torch.where(elsewhere, 4.0, n), rate),
        ),
    )


def _series(q: Tensor, log: Tensor, c: Tensor, far: Tensor, above: Tensor, rise: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives for the own concentration c of a small share q, and for the other one.

    Args:
        log: of q N / c.
        above, rise: of c the second and of the other one the first result of :func:`digamma_rise`.
    """
    n = c + far
    own = -(log + above) / c
    other = (rise + torch.log1p(c / far)) / c
    of_log = -1 / c
    series, series_far, power = own, other, q
    for k in range(1, _TERMS64 if q.dtype == torch.float64 else _TERMS):
        i = 1 / (c + k)
        ratio = (n + (k - 1)) * (i * q)
        own = ratio * own + of_log * ((1 - far) * (i * q)) * i
        of_log = ratio * of_log
        other = ratio * other - i * (1 / k) * power
        power = power * q
        series, series_far = series + own, series_far + other
    return series, series_far


def _expansion(u: Tensor, v: Tensor, a: Tensor, b: Tensor) -> Tensor:
    s, n = 1 / a, a + b
    flat = u == 0
    of_u = torch.where(flat, 1.0, u)
    phi = torch.where(flat, 1.0, torch.log1p(of_u) / of_u)
    close = torch.abs(u) < 0.1
    of_u = torch.where(close, 1.0, u)
    bend = ((1 / (1 + of_u) - phi) / of_u + 0.5) / of_u
    bend = torch.where(close, polynomial(torch.where(close, u, 0.0), _BEND), bend)
    share = b / n
    return s * (phi + s * (share * bend * (1 + u) * (1 + v) + 0.5 * (a / n - share * (1 + v))))


def _quadrature(
    delta: Tensor, of_a: Tensor, of_b: Tensor, x: Tensor, y: Tensor, n: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor]:
    wide = n.dtype == torch.float64
    cutoff = CUTOFF64 if wide else _CUTOFF
    upper = delta > 0
    # The share that shrinks beyond l is q; what is computed is a function of the lesser of q and 1 - q.
    q, p = torch.where(upper, y, x), torch.where(upper, x, y)
    grows = q > p
    sign = torch.where(grows, 1.0, -1.0).to(n.dtype)
    m = torch.minimum(p, q)
    curvature = n * m * (1 - m)
    # From any length Newton's method leads beyond where the exponent, which is convex, is -cutoff.
    length = 2 * cutoff / (rate + torch.sqrt(rate * rate + 2 * cutoff * curvature))
    length = torch.minimum(length, torch.clamp(torch.log1p(2 * cutoff / curvature), 1.0, 1e3))
    for _ in range(2):
        e = torch.expm1(sign * length)
        z = m * e
        exponent = rate * length + n * (torch.log1p(z) - sign * m * length)
        length = length - (exponent - cutoff) / (rate + curvature * sign * e / (1 + z))
    total, first, moved = torch.zeros_like(n), torch.zeros_like(n), torch.zeros_like(n)
    for node, weight in zip(*(RULE64 if wide else _RULE), strict=True):
        w = length * node
        log_share = torch.log1p(m * torch.expm1(sign * w))
        value = weight * torch.exp(-rate * w - n * (log_share - sign * m * w))
        total, first, moved = total + value, first + value * w, moved + value * log_share
    grown = torch.where(grows, first - moved, -moved)
    rest = torch.where(grows, moved, first + moved)
    of_x = torch.where(upper, of_a * total + grown, rest - of_a * total) * length
    of_y = torch.where(upper, rest - of_b * total, of_b * total + grown) * length
    return of_x, of_y


_DEVICE_RULE, _DEVICE_RULE64 = tl.constexpr(_RULE), tl.constexpr(RULE64)
_DEVICE_BEND, _DEVICE_DIGAMMA = tl.constexpr(_BEND), tl.constexpr(_DIGAMMA)


@triton.jit
def beta_range_device(concentration):
    """Device twin of :func:`beta_range`."""
    WIDE: tl.constexpr = concentration.dtype == tl.float64
    return tl.minimum(tl.maximum(concentration, 1e-150 if WIDE else 1e-18), 1e300 if WIDE else 1e37)


@triton.jit
def _digamma_rise_device(a, b, HARDWARE: tl.constexpr):
    """Device twin of :func:`digamma_rise`."""
    C: tl.constexpr = _DEVICE_DIGAMMA.value
    one = tl.full(a.shape, 1.0, a.dtype)
    n = a + b
    low = a < 8.0
    near = tl.where(low, a, 8.0)
    share = divide(b, n, HARDWARE)
    part = divide(6.0 * one, near + 6.0, HARDWARE) * share
    direct = log(divide(near, near + 6.0, HARDWARE) * divide(n + 6.0, n, HARDWARE), HARDWARE)
    moved = tl.where(part > 0.5, direct, log1p(-part, HARDWARE))
    for k in tl.static_range(1, 6):
        moved += divide(divide(b, n + k, HARDWARE), near + k, HARDWARE)
    start = tl.where(low, a + 6.0, a)
    r = divide(one, start, HARDWARE)
    s = divide(one, start + b, HARDWARE)
    total = tl.zeros_like(a)
    power = one
    sums = one
    square = r * r
    other = s * s
    for k in tl.static_range(len(C)):
        total += C[k] * sums
        power *= other
        sums = sums * square + power
    smooth = b * s * r * (0.5 + (r + s) * total)
    above = smooth + tl.where(low, moved, 0.0)
    rise = tl.where(low, above + divide(share, a, HARDWARE), smooth)
    return rise, tl.where(low, above - divide(one, n, HARDWARE), smooth - divide(one, a, HARDWARE))


@triton.jit
def _expansion_device(delta, a, b, n, HARDWARE: tl.constexpr):
    one = tl.full(a.shape, 1.0, a.dtype)
    s = divide(one, a, HARDWARE)
    u = b * delta
    v = -a * delta
    flat = u == 0.0
    phi = tl.where(flat, one, divide(log1p(u, HARDWARE), tl.where(flat, one, u), HARDWARE))
    of_u = tl.where(tl.abs(u) < 0.1, one, u)
    bend = divide(divide(divide(one, 1.0 + of_u, HARDWARE) - phi, of_u, HARDWARE) + 0.5, of_u, HARDWARE)
    bend = tl.where(tl.abs(u) < 0.1, polynomial_device(u, _DEVICE_BEND), bend)
    share = divide(b, n, HARDWARE)
    moved = share * bend * (1.0 + u) * (1.0 + v) + 0.5 * (divide(a, n, HARDWARE) - share * (1.0 + v))
    return s * (phi + s * moved)


@triton.jit
def _quadrature_device(delta, of_a, of_b, x, y, a, b, HARDWARE: tl.constexpr):
    WIDE: tl.constexpr = a.dtype == tl.float64
    RULE: tl.constexpr = _DEVICE_RULE64.value if WIDE else _DEVICE_RULE.value
    CUTOFF: tl.constexpr = 38.0 if WIDE else 13.0
    one = tl.full(a.shape, 1.0, a.dtype)
    n = a + b
    upper = delta > 0
    q = tl.where(upper, y, x)
    p = tl.where(upper, x, y)
    grows = q > p
    sign = tl.where(grows, one, -one)
    m = tl.minimum(p, q)
    rate = tl.abs(a * (b * delta))
    curvature = n * m * (1.0 - m)
    length = 2.0 * CUTOFF / (rate + tl.sqrt(rate * rate + 2.0 * CUTOFF * curvature))
    length = tl.minimum(length, tl.maximum(log1p(divide(2.0 * CUTOFF * one, curvature, HARDWARE), HARDWARE), 1.0))
    for _ in tl.static_range(2):
        e = expm1(sign * length, HARDWARE)
        z = m * e
        exponent = rate * length + n * (log1p(z, HARDWARE) - sign * m * length)
        length -= divide(exponent - CUTOFF, rate + divide(curvature * sign * e, 1.0 + z, HARDWARE), HARDWARE)
    total = tl.zeros_like(a)
    first = tl.zeros_like(a)
    moved = tl.zeros_like(a)
    for i in tl.static_range(len(RULE[0])):
        w = length * RULE[0][i]
        log_share = log1p(m * expm1(sign * w, HARDWARE), HARDWARE)
        value = RULE[1][i] * exp(-rate * w - n * (log_share - sign * m * w), HARDWARE)
        total += value
        first += value * w
        moved += value * log_share
    grown = tl.where(grows, first - moved, -moved)
    rest = tl.where(grows, moved, first + moved)
    of_p = (tl.where(upper, of_a, of_b) * total + grown) * length
    of_q = (rest - tl.where(upper, of_b, of_a) * total) * length
    return tl.where(upper, of_p, of_q), tl.where(upper, of_q, of_p)


@triton.jit
def beta_gradients_device(delta, xi, eta, a, b, HARDWARE: tl.constexpr):
    """Device twin of :func:`beta_gradients`."""
    WIDE: tl.constexpr = a.dtype == tl.float64
    one = tl.full(a.shape, 1.0, a.dtype)
    n = a + b
    x = divide(a, n, HARDWARE) * exp(xi, HARDWARE)
    y = divide(b, n, HARDWARE) * exp(eta, HARDWARE)
    rise_a, above_a = _digamma_rise_device(a, b, HARDWARE)
    rise_b, above_b = _digamma_rise_device(b, a, HARDWARE)

    lower = x <= y
    q = tl.minimum(x, y)
    c = tl.where(lower, a, b)
    near = (q * (n + 10.0) < 8.0) & (q * n - c < 1.0)
    far = tl.where(lower, b, a)
    small = tl.where(near, q, 0.0)
    own = -divide(tl.where(lower, xi, eta) + tl.where(lower, above_a, above_b), c, HARDWARE)
    other = divide(tl.where(lower, rise_b, rise_a) + log1p(divide(c, far, HARDWARE), HARDWARE), c, HARDWARE)
    of_log = -divide(one, c, HARDWARE)
    series = own
    series_far = other
    power = small
    for k in tl.static_range(1, 44 if WIDE else 24):
        i = divide(one, c + k, HARDWARE)
        ratio = (n + (k - 1)) * (i * small)
        own = ratio * own + of_log * ((1.0 - far) * (i * small)) * i
        of_log = ratio * of_log
        other = ratio * other - i * (1.0 / k) * power
        power *= small
        series += own
        series_far += other

    large = tl.minimum(a, b) > (1e5 if WIDE else 100.0)
    of_a, of_b = _quadrature_device(delta, xi + rise_a, eta + rise_b, x, y, a, b, HARDWARE)
    of_a = tl.where(near, tl.where(lower, series, series_far), of_a)
    of_b = tl.where(near, tl.where(lower, series_far, series), of_b)
    of_a = tl.where(large, _expansion_device(delta, a, b, n, HARDWARE), of_a)
    of_b = tl.where(large, _expansion_device(-delta, b, a, n, HARDWARE), of_b)
    return of_a, of_b
