"""Exponential distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.exponential import EXPONENTIAL_LAW

from ._examples import POSITIVE, Example
from ._sampling import FusedSampling


class Exponential(FusedSampling, torch.distributions.Exponential):
    r"""Exponential distribution with density :math:`\lambda e^{-\lambda x}`.

    A draw is :math:`E/\lambda` with a standard exponential E from one uniform number, relatively exact at both ends: it
    is never 0, and reaches from 2**-33 to 22.9 (2**-65 to 45 in float64). The pathwise gradient is
    :math:`\partial x/\partial\lambda = -x/\lambda`. A float32 sample is infinite at rates below 1e-37 and 0 above
    1e27; a float16 one is the nearest positive number.

    Example::

        >>> Exponential(torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        rate: inverse of the mean, positive; a number or floating-point tensor.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `rate` is not positive or NaN.
    """

    _examples = (Example({"rate": POSITIVE}, scipy=lambda stats, rate: stats.expon(0, 1 / rate)),)

    _samplers = (Sampler(EXPONENTIAL_LAW),)

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        torch.distributions.Exponential.__init__(self, rate, validate_args=False)
        self._accept(validate_args, rate=rate)
