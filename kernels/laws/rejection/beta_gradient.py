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
from ...formula.polynomial import polynomial
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
        number: of the two, how many are wanted. For the first alone either share is a case of its own, which leaves
            out half of the series.
    """
    n = a + b
    x, y = a / n * torch.exp(xi), b / n * torch.exp(eta)
    rise_a, above_a = digamma_rise(a, b)
    rise_b, above_b = digamma_rise(b, a)

    def expansions(u: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return (_expansion(u, v, a, b), _expansion(v, u, b, a))[:number]

    def quadratures(*operands: Tensor) -> tuple[Tensor, ...]:
        return _quadrature(*operands)[:number]

    large = torch.minimum(a, b) > (_LARGE64 if a.dtype == torch.float64 else _LARGE)
    u, v = torch.where(large, b * delta, 0.0), torch.where(large, -a * delta, 0.0)
    is_lower = x <= y
    q, c = torch.where(is_lower, x, y), torch.where(is_lower, a, b)
    above_mean = torch.where(q * (n + 10) < 8, q * n - c, math.inf)
    near = above_mean < 1
    small = torch.where(near, q, 0.0)
    # Numbers of which the integral is finite where another formula is taken.
    elsewhere = near | large
    of_x, of_y = torch.where(elsewhere, 0.5, x), torch.where(elsewhere, 0.5, y)
    rate = torch.where(elsewhere, 1.0, torch.abs(a * (b * delta)))
    first = Case(large, expansions, (u, v, a, b))
    operands = (delta, xi + rise_a, eta + rise_b, of_x, of_y, torch.where(elsewhere, 4.0, n), rate)
    last = Case(None, quadratures, operands)
    of_lower, of_upper = (small, xi, a, b, above_a, rise_b), (small, eta, b, a, above_b, rise_a)
    if number == 1:
        lower = torch.where(is_lower, above_mean, math.inf) < 1
        return by_case(
            first,
            Case(lower, lambda *of: _series(*of)[:1], of_lower),
            Case(near, lambda *of: _series(*of)[1:], of_upper),
            last,
        )
    of_lesser = (small, *(torch.where(is_lower, x, y) for x, y in zip(of_lower[1:], of_upper[1:], strict=True)))
    of_a, of_b = by_case(first, Case(near, _series, of_lesser), last)
    exchanged = torch.where(is_lower | large, math.inf, above_mean) < 1
    return torch.where(exchanged, of_b, of_a), torch.where(exchanged, of_a, of_b)


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
