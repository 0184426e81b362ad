"""Beta: g1 / (g1 + g0), g1 and g0 standard gamma with the two concentrations.

With g = concentration * ratio * exp(power), what underflows is divided out before anything is rounded. Gradients are
the implicit ones of the beta law itself, functions of the sample and the concentrations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .law import Law
from .rejection.beta_gradient import beta_gradients, beta_range
from .rejection.gamma import GAMMA, floored
from .rejection.law import Part, first_of, noise_of, second_of
from .support import UNIT_INTERVAL

_HUGE = 1e37
_LEAST_LOG = -1e16  # of a share, which is 0 long before

# (ratio, power) of g1 and of g0.
Noise = tuple[Tensor, Tensor, Tensor, Tensor]


def _slopes(noise: Noise, concentration1: Tensor, concentration0: Tensor) -> list[tuple[int, int, Tensor]]:
    """Of the many ways to move the two gamma numbers so that the sample moves as its own law does."""
    of_first, of_second = _logit_gradients(noise, concentration1, concentration0)
    return [
        (0, 0, noise[0] * (of_first - 1 / beta_range(concentration1))),
        (2, 1, noise[2] * (of_second - 1 / beta_range(concentration0))),
    ]


def _shares(noise: Noise, concentration1: Tensor, concentration0: Tensor) -> tuple[Tensor, Tensor]:
    """x and 1 - x."""
    ratio1, power1, ratio0, power0 = noise
    a, b = floored(concentration1), floored(concentration0)
    # So that the sum does not overflow.
    unit = torch.where(torch.maximum(a, b) > _HUGE, 0.25, 1.0)
    greater = torch.maximum(power1, power0)
    first = unit * a * ratio1 * torch.exp(power1 - greater)
    second = unit * b * ratio0 * torch.exp(power0 - greater)
    total = first + second
    return first / total, second / total


def _logit_gradients(noise: Noise, concentration1: Tensor, concentration0: Tensor) -> tuple[Tensor, Tensor]:
    """d logit(x) / d concentration1 and -d logit(x) / d concentration0."""
    ratio1, power1, ratio0, power0 = noise
    a, b = beta_range(concentration1), beta_range(concentration0)
    greater = torch.maximum(power1, power0)
    first, second = ratio1 * torch.exp(power1 - greater), ratio0 * torch.exp(power0 - greater)
    total = a * first + b * second
    delta, mean = (first - second) / total, torch.log(total / (a + b))
    xi = _log_quotient(b * delta, torch.log(ratio1) + (power1 - greater) - mean)
    eta = _log_quotient(-a * delta, torch.log(ratio0) + (power0 - greater) - mean)
    of_concentration1, of_concentration0 = beta_gradients(delta, xi, eta, a, b)
    return of_concentration1, of_concentration0


def _log_quotient(u: Tensor, far: Tensor) -> Tensor:
    """log(1 + u), which is `far` where u is not small."""
    close = torch.abs(u) < 0.5
    return torch.where(close, torch.log1p(torch.where(close, u, 0.0)), torch.clamp(far, _LEAST_LOG, -_LEAST_LOG))


def beta_reference(noise: Noise, concentration1: Tensor, concentration0: Tensor) -> Tensor:
    return _shares(noise, concentration1, concentration0)[0]


def beta_reference_grad(
    noise: Noise, grad: Tensor, concentration1: Tensor, concentration0: Tensor
) -> tuple[Tensor, Tensor]:
    x, rest = _shares(noise, concentration1, concentration0)
    of_first, of_second = _logit_gradients(noise, concentration1, concentration0)
    weighted = grad * (x * rest)
    return weighted * of_first, -weighted * of_second


BETA_LAW = Law(
    name="beta",
    parameters=("concentration1", "concentration0"),
    noise=noise_of("two_gammas", 2, Part(GAMMA, first_of), Part(GAMMA, second_of, stream=2), values=4, slopes=_slopes),
    reference=beta_reference,
    reference_grad=beta_reference_grad,
    support=UNIT_INTERVAL,
)
