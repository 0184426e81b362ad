"""Cauchy distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.cauchy import CAUCHY_LAW, cauchy_icdf

from ._arguments import broadcastable
from ._examples import LOC_SCALE, Example
from ._sampling import FusedSampling, widened


class Cauchy(FusedSampling, torch.distributions.Cauchy):
    r"""Cauchy distribution with density :math:`\gamma / \pi(\gamma^2 + (x - x_0)^2)`.

    A draw is :math:`x_0 + \gamma\cot\pi t` with t uniform in [-1/2, 1/2] and never 0. The tails come from small t,
    which is exact there; torch's own draw takes them from a tangent near its pole. Pathwise gradients are
    :math:`\partial x/\partial x_0 = 1` and :math:`\partial x/\partial\gamma = \cot\pi t`. A sample beyond the greatest
    number is infinite (in float32 with a `scale` above 1e28), in float16 it is that number.

    Example::

        >>> Cauchy(torch.zeros(3), torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: median, a number or floating-point tensor.
        scale: half width at half maximum, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: `loc` and `scale` do not broadcast.
    """

    _examples = (Example(LOC_SCALE, scipy=lambda stats, loc, scale: stats.cauchy(loc, scale)),)

    _samplers = (Sampler(CAUCHY_LAW),)

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        loc, scale = broadcastable(loc=loc, scale=scale)
        torch.distributions.Cauchy.__init__(self, loc, scale, validate_args=False)
        self._accept(validate_args, loc=loc, scale=scale)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked_log_prob_at(value)

    def icdf(self, value: Tensor) -> Tensor:
        return widened(cauchy_icdf, value, self.loc, self.scale)
