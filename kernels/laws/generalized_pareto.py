"""Generalized Pareto: loc + scale (exp(c E) - 1) / c, E standard exponential, c the concentration; loc + scale E at 0.

The formulas are written with functions of s = c E that are smooth at 0 and get series there: so are their derivatives.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..formula.polynomial import polynomial
from ..stream.noise import EXPONENTIAL
from .law import Density, Law
from .support import End, Support, below

# Where c is nearer to 0 than this, c E is beside 1 nothing that float64 holds.
_NO_CONCENTRATION = 1e-20


# Above it exp(s) overflows, and the sample with it: no gradient is to be infinity times 0.
_GREATEST = {torch.float32: 88.0, torch.float64: 709.0}

# Series of (exp(s) - 1) / s, of its derivative, and of (exp(s) - 1 - s) / s**2.
_GROWTH = tuple(1 / math.factorial(n + 1) for n in range(8))
_SLOPE = tuple((n + 1) / math.factorial(n + 2) for n in range(8))
_EXCESS = tuple(1 / math.factorial(n + 2) for n in range(8))


def _near_zero(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where a series of eight terms holds, its argument, and the argument of the closed form elsewhere."""
    bound = 0.5 if s.dtype == torch.float32 else 0.1
    near = torch.abs(s) < bound
    return near, torch.where(near, s, 0.0), torch.where(near, bound, torch.clamp(s, -math.inf, _GREATEST[s.dtype]))


def _growth(s: Tensor) -> Tensor:
    """(exp(s) - 1) / s."""
    near, small, large = _near_zero(s)
    series = polynomial(small, _GROWTH)
    return torch.where(near, series, torch.expm1(large) / large)


def _growth_slope(s: Tensor) -> Tensor:
    """The derivative of `_growth`, (1 - exp(s) + s exp(s)) / s**2."""
    near, small, large = _near_zero(s)
    series = polynomial(small, _SLOPE)
    # Divided twice, as a square may overflow.
    power = torch.expm1(large)
    return torch.where(near, series, ((power + 1) - power / large) / large)


def _growth_excess(s: Tensor) -> Tensor:
    """(exp(s) - 1 - s) / s**2."""
    near, small, large = _near_zero(s)
    series = polynomial(small, _EXCESS)
    return torch.where(near, series, (torch.expm1(large) / large - 1) / large)


def generalized_pareto_reference(x: Tensor, loc: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    # Divided last, the distance from loc does not exceed scale / -concentration for negative concentrations.
    exponential = torch.abs(concentration) < _NO_CONCENTRATION
    near, far = torch.where(exponential, concentration, 0.0), torch.where(exponential, 1.0, concentration)
    # The second term is too small to count, but its derivative is not.
    return loc + torch.where(exponential, scale * (x + 0.5 * near * x * x), scale * torch.expm1(far * x) / far)


def _device_sample(x: Tensor, loc: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    """On a GPU: without the term that is there for its derivative, a twentieth of the instructions."""
    growth = torch.expm1(concentration * x)
    if x.dtype == torch.float32:
        # The hardware's division may err by 2 ulp, and the sample must not pass the end of the support.
        growth = torch.clamp(growth, -0.9999996, math.inf)
    distance = scale * growth / concentration
    return loc + torch.where(torch.abs(concentration) < _NO_CONCENTRATION, scale * x, distance)


def generalized_pareto_reference_grad(
    x: Tensor, grad: Tensor, loc: Tensor, scale: Tensor, concentration: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    # Derived, terms cancel next to a concentration of 0: in float32 4e-4 of the gradient at 1e-3. Derived of a formula
    # with `_growth`, which is as exact as this, it has a sixth more instructions.
    s = concentration * x
    unit = grad * x
    # In an order that neither overflows nor underflows before the product does.
    return grad, unit * _growth(s), scale * (unit * (x * _growth_slope(s)))


def generalized_pareto_end(step: Any, loc: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    """loc - scale / c where c is negative, and loc where no number of the dtype lies between the two."""
    negative = concentration < 0
    end = torch.where(negative, loc - scale / torch.where(negative, concentration, -1.0), math.inf)
    # A small c can have the quotient overflow, too.
    return torch.where(end < math.inf, torch.maximum(below(end, step), loc), math.inf)


def generalized_pareto_log_prob_reference(x: Tensor, loc: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    return -torch.log(scale) - x - concentration * x


def generalized_pareto_reference_score(
    x: Tensor, grad: Tensor, loc: Tensor, scale: Tensor, concentration: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    s, tail = concentration * x, 1 + concentration
    unit = grad / scale
    of_scale = unit * (tail * x * _growth(-s) - 1)
    return unit * tail * torch.exp(-s), of_scale, grad * x * (tail * x * _growth_excess(-s) - 1)


def generalized_pareto_log_survival(x: Tensor, loc: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    """-log(1 + c z) / c, z = (x - loc) / scale, differentiable also where c is 0."""
    z = (x - loc) / scale
    s = concentration * z
    bound = 0.05 if s.dtype == torch.float64 else 0.2
    near = torch.abs(s) < bound
    # The end is at s = -1, which rounding can lead to and past from inside.
    before_end = x <= generalized_pareto_end(0.0, loc, scale, concentration)
    s = torch.where((s <= -1) & before_end, torch.finfo(s.dtype).eps / 2 - 1, s)
    small, large = torch.where(near, s, 0.0), torch.where(near, bound, s)
    series = polynomial(small, [(-1.0) ** n / (n + 1) for n in range(11)])
    return -z * torch.where(near, series, torch.log1p(large) / large)


def generalized_pareto_log_prob_at(x: Tensor, loc: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    """Log-density: (1 + c) times the log-survival, less log(scale)."""
    survival = generalized_pareto_log_survival(x, loc, scale, concentration)
    return (1 + concentration) * survival - torch.log(scale)


GENERALIZED_PARETO_LAW = Law(
    name="generalized_pareto",
    parameters=("loc", "scale", "concentration"),
    noise=EXPONENTIAL,
    reference=generalized_pareto_reference,
    reference_grad=generalized_pareto_reference_grad,
    support=Support(None, math.inf, End(generalized_pareto_end, closed=True)),
    transform=_device_sample,
    density=Density(
        at=generalized_pareto_log_prob_at,
        reference=generalized_pareto_log_prob_reference,
        reference_score=generalized_pareto_reference_score,
    ),
)
