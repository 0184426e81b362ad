"""Laplace distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.laplace import LAPLACE_LAW

from ._arguments import broadcastable
from ._examples import LOC_SCALE, Example
from ._sampling import FusedSampling


class Laplace(FusedSampling, torch.distributions.Laplace):
    r"""Laplace distribution with density :math:`\exp(-|x - \mu| / b) / 2b`.

    A draw is :math:`\mu + b e`, where e is a standard exponential with a random sign; both come from one number t,
    uniform in [-1/2, 1/2] and never 0: :math:`|e| = -\log 2|t|`. Pathwise gradients are :math:`\partial x/\partial\mu =
    1` and :math:`\partial x/\partial b = e`.

    Example::

        >>> Laplace(torch.zeros(3), torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: median, a number or floating-point tensor.
        scale: scale, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: `loc` and `scale` do not broadcast.
    """

    _examples = (Example(LOC_SCALE, scipy=lambda stats, loc, scale: stats.laplace(loc, scale)),)

    _samplers = (Sampler(LAPLACE_LAW),)

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        loc, scale = broadcastable(loc=loc, scale=scale)
        torch.distributions.Laplace.__init__(self, loc, scale, validate_args=False)
        self._accept(validate_args, loc=loc, scale=scale)
