"""Kumaraswamy: w**(1 / concentration1), w = 1 - exp(-E / concentration0), E standard exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..stream.noise import EXPONENTIAL
from .law import Density, Law
from .support import UNIT_INTERVAL


def _log_w(s: Tensor) -> Tensor:
    """log(1 - exp(-s)) for positive s, relatively exact at both ends."""
    s = torch.clamp(s, torch.finfo(s.dtype).tiny, 80.0)
    far = torch.clamp(s, 0.5, math.inf)  # differentiable where it is not chosen
    return torch.where(s < 0.7, torch.log(-torch.expm1(-s)), torch.log1p(-torch.exp(-far)))


def kumaraswamy_reference(x: Tensor, concentration1: Tensor, concentration0: Tensor) -> Tensor:
    return torch.exp(_log_w(x / concentration0) / concentration1)


# By hand, as that of the log-density derived is NaN where a concentration is tiny, and has a sixth more instructions
# unless both are derived.


def kumaraswamy_reference_grad(
    x: Tensor, grad: Tensor, concentration1: Tensor, concentration0: Tensor
) -> tuple[Tensor, Tensor]:
    s = x / concentration0
    log_sample = _log_w(s) / concentration1
    unit = grad * torch.exp(log_sample) / concentration1
    # A tiny concentration1 makes it infinite; the sample is 0 long before.
    return -unit * torch.clamp(log_sample, -1e4, math.inf), -unit * _elasticity(s) / concentration0


def _elasticity(s: Tensor) -> Tensor:
    """s / (exp(s) - 1), the derivative of log w with respect to log s."""
    s = torch.clamp(s, torch.finfo(s.dtype).tiny, 80.0)
    return s / torch.expm1(s)


def kumaraswamy_log_prob_reference(x: Tensor, concentration1: Tensor, concentration0: Tensor) -> Tensor:
    s = x / concentration0
    log_w = _log_w(s)
    return torch.log(concentration1) + torch.log(concentration0) + log_w - log_w / concentration1 + s - x


def kumaraswamy_log_prob_reference_grad(
    x: Tensor, grad: Tensor, concentration1: Tensor, concentration0: Tensor
) -> tuple[Tensor, Tensor]:
    s = x / concentration0
    unit1, unit0 = grad / concentration1, grad / concentration0
    return unit1 * (1 + _log_w(s) / concentration1), unit0 * (1 - s - (1 - 1 / concentration1) * _elasticity(s))


def kumaraswamy_reference_score(
    x: Tensor, grad: Tensor, concentration1: Tensor, concentration0: Tensor
) -> tuple[Tensor, Tensor]:
    # log(w) w / (1 - w) tends to -1 where w tends to 1, and has done so well before exp(s) overflows.
    s = torch.clamp(x / concentration0, torch.finfo(x.dtype).tiny, 80.0)
    log_w = _log_w(s)
    of_concentration1 = 1 + log_w - (concentration0 - 1) * log_w * torch.expm1(s)
    return grad * of_concentration1 / concentration1, grad * (1 - x) / concentration0


def kumaraswamy_log_prob_at(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """log(a b) + (a - 1) log(x) + (b - 1) log(1 - x**a), also at 0 and 1."""
    rest = -torch.expm1(a * torch.log(x))
    return torch.log(a) + torch.log(b) + torch.xlogy(a - 1, x) + torch.xlogy(b - 1, rest)


def kumaraswamy_cdf(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return -torch.expm1(b * torch.log1p(-(x**a)))


def kumaraswamy_icdf(u: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (-torch.expm1(torch.log1p(-u) / b)) ** (1 / a)


KUMARASWAMY_LAW = Law(
    name="kumaraswamy",
    parameters=("concentration1", "concentration0"),
    noise=EXPONENTIAL,
    reference=kumaraswamy_reference,
    reference_grad=kumaraswamy_reference_grad,
    support=UNIT_INTERVAL,
    density=Density(
        at=kumaraswamy_log_prob_at,
        reference=kumaraswamy_log_prob_reference,
        reference_grad=kumaraswamy_log_prob_reference_grad,
        reference_score=kumaraswamy_reference_score,
    ),
)
