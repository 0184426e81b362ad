"""Poisson distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draw import Sampler
from rsample.kernels.maps.poisson import POISSON_MAP

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

    _samplers = (Sampler(POISSON_MAP),)

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        super().__init__(rate, validate_args=False)
        self._accept(validate_args, rate=rate)
