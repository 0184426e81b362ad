"""Inverse gamma distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.gamma import INVERSE_GAMMA_LAW

from ._arguments import broadcastable
from ._examples import POSITIVE, Example
from ._sampling import FusedSampling
from .transformed_distribution import TransformedDistribution


class InverseGamma(FusedSampling, TransformedDistribution, torch.distributions.InverseGamma):
    r"""Inverse gamma distribution: of :math:`1 / x` where x is `Gamma(concentration, rate)`.

    Draws and gradients are those of :class:`~rsample.distributions.Gamma`, inverted in the same kernel before anything
    is rounded.

    Example::

        >>> InverseGamma(torch.ones(3), 2.0).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        concentration: shape parameter, positive; a number or floating-point tensor.
        rate: rate of the gamma distribution, the scale of this one, positive; broadcasts with `concentration`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and a parameter is not positive or NaN.
        RuntimeError: `concentration` and `rate` do not broadcast.
    """

    _examples = (
        Example(
            {"concentration": POSITIVE, "rate": POSITIVE},
            scipy=lambda stats, concentration, rate: stats.invgamma(concentration, 0, rate),
        ),
    )

    _samplers = (Sampler(INVERSE_GAMMA_LAW),)

    def __init__(self, concentration: Tensor | float, rate: Tensor | float, validate_args: bool | None = None) -> None:
        concentration, rate = broadcastable(concentration=concentration, rate=rate)
        torch.distributions.InverseGamma.__init__(self, concentration, rate, validate_args=False)
        self._accept(validate_args, concentration=concentration, rate=rate)
