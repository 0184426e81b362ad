"""Truncated normal distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.truncated_normal import (
    TRUNCATED_NORMAL_LAW,
    Interval,
    interval,
    moments,
    narrow_moments,
    origin,
    truncated_normal_cdf,
    truncated_normal_icdf,
    truncated_normal_log_prob,
)

from ._arguments import broadcastable
from ._examples import LOC_SCALE, Example
from ._sampling import FusedSampling, widened


class _TruncatedNormal(Distribution):
    """The distribution, as torch.distributions would have it; its draws are the subclass's."""

    has_rsample = True

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self.low, self.high = broadcast_all(loc, scale, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {
            "loc": constraints.real,
            "scale": constraints.positive,
            "low": constraints.less_than(self.high),
            "high": constraints.greater_than(self.low),
        }

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.high)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        batch_shape = torch.Size(batch_shape)
        new = self._get_checked_instance(_TruncatedNormal, _instance)
        for name in ("loc", "scale", "low", "high"):
            setattr(new, name, getattr(self, name).expand(batch_shape))
        Distribution.__init__(new, batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mode(self) -> Tensor:
        return torch.minimum(torch.maximum(self.loc, self.low), self.high)

    @property
    def mean(self) -> Tensor:
        cut, first, _ = self._moments()
        loc, scale, low, high = (p.double() for p in (self.loc, self.scale, self.low, self.high))
        mean = origin(cut, loc, low, high) + torch.where(cut.flip, -scale, scale) * first
        return torch.minimum(torch.maximum(mean.to(self.loc.dtype), self.low), self.high)

    @property
    def variance(self) -> Tensor:
        cut, first, excess = self._moments()
        variance = excess - first * (2 * cut.c + first)
        # Beyond 500 deviations more cancels than the exponential distribution of rate a errs.
        steep = cut.tail & (cut.a > 500) & ~cut.narrow
        a = torch.where(steep, cut.a, 1.0)
        half = 0.5 * a * cut.width
        exponential = (1 - (half / torch.sinh(half.clamp(1e-3, 300))).square()) / a.square()
        variance = torch.where(steep, exponential, variance)
        mean, square = narrow_moments(cut)
        variance = torch.where(cut.narrow, square - mean.square(), variance)
        return (variance * self.scale.double().square()).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        cut, _, excess = self._moments()
        return (torch.log(cut.total * self.scale.double()) + 0.5 * excess).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_prob = widened(truncated_normal_log_prob, self._inside(value), self.loc, self.scale, self.low, self.high)
        return torch.where((value < self.low) | (value > self.high), -torch.inf, log_prob)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return widened(truncated_normal_cdf, self._inside(value), self.loc, self.scale, self.low, self.high)

    def icdf(self, value: Tensor) -> Tensor:
        return widened(truncated_normal_icdf, value, self.loc, self.scale, self.low, self.high)

    def _inside(self, value: Tensor) -> Tensor:
        """`value`, or the bound that it lies beyond. At a bound the gradient is that of the value alone."""
        return torch.where(value < self.low, self.low, torch.where(value > self.high, self.high, value))

    def _moments(self) -> tuple[Interval, Tensor, Tensor]:
        """The interval, E z - c and E z**2 - c**2: in float64, for their terms nearly cancel."""
        cut = interval(self.loc.double(), self.scale.double(), self.low.double(), self.high.double())
        return cut, *moments(cut)


class TruncatedNormal(FusedSampling, _TruncatedNormal):
    r"""Normal distribution with mean :math:`\mu` and standard deviation :math:`\sigma`, conditioned on [low, high].

    A draw inverts the distribution function in the kernel that writes the sample: no rejection, and no loss where the
    interval is narrow or lies far in a tail, where the normal distribution's own probabilities underflow. Pathwise
    gradients reach all four parameters: with :math:`\alpha` and :math:`\beta` the bounds in units of :math:`\sigma`
    around :math:`\mu`, and z the sample,

    .. math:: \frac{\partial x}{\partial\,\mathrm{low}} = (1 - u)\frac{\varphi(\alpha)}{\varphi(z)}, \quad
        \frac{\partial x}{\partial\,\mathrm{high}} = u\frac{\varphi(\beta)}{\varphi(z)}.

    Mean and standard deviation of the distribution itself are `mean` and `stddev`; `loc` and `scale` are those before
    the conditioning.

    Example::

        >>> loc = torch.zeros(3, requires_grad=True)
        >>> x = TruncatedNormal(loc, 1.0, low=8.0, high=9.0).rsample((16,))
        >>> bool(((x >= 8) & (x <= 9)).all())
        True

    Args:
        loc: :math:`\mu`, a number or floating-point tensor.
        scale: :math:`\sigma`, positive; broadcasts with `loc`, as `low` and `high` do.
        low: lower bound, -inf for none.
        high: upper bound, greater than `low`; inf for none.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on, and `scale` is not positive, `low` is not less than `high`, or an argument is NaN.
        RuntimeError: the parameters do not broadcast.

    Source: Robert, "Simulation of truncated normal variables" (1995).
    """

    _examples = (
        Example(
            {**LOC_SCALE, "low": (-3.0, -1.0), "high": (0.0, 2.0)},
            scipy=lambda stats, loc, scale, low, high: stats.truncnorm(
                (low - loc) / scale, (high - loc) / scale, loc, scale
            ),
            rounding=64,
        ),
    )

    _samplers = (Sampler(TRUNCATED_NORMAL_LAW),)

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        loc, scale, low, high = broadcastable(loc=loc, scale=scale, low=low, high=high)
        _TruncatedNormal.__init__(self, loc, scale, low, high, validate_args=False)
        self._accept(validate_args, loc=loc, scale=scale, low=low, high=high)
