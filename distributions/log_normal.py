"""Log-normal distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.log_normal import LOG_NORMAL_LAW

from ._arguments import broadcastable
from ._examples import LOC_SCALE, NORMAL_ROUNDING, Example
from ._sampling import FusedSampling
from .transformed_distribution import TransformedDistribution


class LogNormal(FusedSampling, TransformedDistribution, torch.distributions.LogNormal):
    r"""Log-normal distribution: :math:`\log x` is normal with mean :math:`\mu` and standard deviation :math:`\sigma`.

    A draw is :math:`\exp(\mu + \sigma\epsilon)`, finite and positive in every dtype: where the exponential would
    overflow or vanish it is the largest or smallest normal number. Pathwise gradients are :math:`\partial x/\partial\mu
    = x` and :math:`\partial x/\partial\sigma = x\epsilon`.

    Example::

        >>> LogNormal(torch.zeros(3), torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: mean of the logarithm, a number or floating-point tensor.
        scale: standard deviation of the logarithm, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: `loc` and `scale` do not broadcast.
    """

    _examples = (
        Example(
            LOC_SCALE, scipy=lambda stats, loc, scale: stats.lognorm(scale, 0, math.exp(loc)), rounding=NORMAL_ROUNDING
        ),
    )

    _samplers = (Sampler(LOG_NORMAL_LAW),)

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        loc, scale = broadcastable(loc=loc, scale=scale)
        torch.distributions.LogNormal.__init__(self, loc, scale, validate_args=False)
        self._accept(validate_args, loc=loc, scale=scale)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked_log_prob_at(value)
