"""Poisson distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.formula.special import in_double
from rsample.kernels.laws.poisson import POISSON_LAW

from ._examples import Example
from ._sampling import FusedSampling


class Poisson(FusedSampling, torch.distributions.Poisson):
    r"""Poisson distribution: :math:`P(X = k) = \lambda^k e^{-\lambda} / k!`.

    A draw counts exponential arrivals where the rate is below 10 and is made by the transformed rejection of Hörmann
    (1993) elsewhere. Both are exact up to rounding at any rate; beyond 2**24 a float32 sample is a rounded count. A
    sample too large for its dtype is the dtype's largest number. There is no reparameterisation: gradients need a
    score-function estimator.

    Example::

        >>> Poisson(torch.tensor([0.5, 40.0])).sample((5,)).shape
        torch.Size([5, 2])

    Args:
        rate: mean, non-negative; a number or floating-point tensor.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `rate` is negative or NaN.
    """

    _examples = (Example({"rate": (0.5, 20.0)}, scipy=lambda stats, rate: stats.poisson(rate)),)

    _samplers = (Sampler(POISSON_LAW),)

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        torch.distributions.Poisson.__init__(self, rate, validate_args=False)
        self._accept(validate_args, rate=rate)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return in_double(_log_prob, value, self.rate)


def _log_prob(k: Tensor, rate: Tensor) -> Tensor:
    # No arrival at a rate of 0 is certain. Any is impossible, with torch's infinite derivative.
    arrivals = torch.log(torch.where((rate == 0) & (k == 0), 1.0, rate))
    return k * arrivals - rate - torch.lgamma(k + 1)
