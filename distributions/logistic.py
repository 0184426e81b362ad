"""Logistic distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.logistic import LOGISTIC_LAW, logistic_cdf, logistic_log_prob_at

from ._arguments import broadcastable
from ._examples import LOC_SCALE, Example
from ._sampling import FusedSampling, widened


class _Logistic(torch.distributions.Distribution):
    """The distribution without its draw, as torch.distributions would have it."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: _Logistic | None = None) -> _Logistic:
        new: _Logistic = self._get_checked_instance(_Logistic, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        super(_Logistic, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (math.pi * self.scale) ** 2 / 3

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return widened(logistic_log_prob_at, value, self.loc, self.scale)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return widened(logistic_cdf, value, self.loc, self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * torch.logit(value)

    def entropy(self) -> Tensor:
        return self.scale.log() + 2


class Logistic(FusedSampling, _Logistic):
    r"""Logistic distribution with density :math:`e^{-y} / s(1 + e^{-y})^2`, :math:`y = (x - \mu) / s`.

    A draw is :math:`\mu + s\,\mathrm{logit}(u)`, exact in both tails: u comes as a number t, uniform in [-1/2, 1/2] and
    never 0, of which :math:`|t|` is the distance to the nearer end. Pathwise gradients are
    :math:`\partial x/\partial\mu = 1` and :math:`\partial x/\partial s = \mathrm{logit}(u)`. torch.distributions has no
    such class; there it is put together from transforms.

    Example::

        >>> Logistic(torch.zeros(3), torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: mean, a number or floating-point tensor.
        scale: scale, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: `loc` and `scale` do not broadcast.
    """

    _examples = (
        Example(
            LOC_SCALE,
            scipy=lambda stats, loc, scale: stats.logistic(loc, scale),
            torch=lambda td, loc, scale: td.TransformedDistribution(
                td.Uniform(torch.zeros_like(loc), torch.ones_like(loc)),
                [td.SigmoidTransform().inv, td.AffineTransform(loc, scale)],
            ),
        ),
    )

    _samplers = (Sampler(LOGISTIC_LAW),)

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        loc, scale = broadcastable(loc=loc, scale=scale)
        _Logistic.__init__(self, loc, scale, validate_args=False)
        self._accept(validate_args, loc=loc, scale=scale)
