"""Weibull distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, Exponential, PowerTransform, Transform
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.weibull import WEIBULL_LAW

from ._arguments import broadcastable
from ._examples import POSITIVE, Example
from ._parts import part
from ._sampling import FusedSampling
from .transformed_distribution import TransformedDistribution


class Weibull(FusedSampling, TransformedDistribution, torch.distributions.Weibull):
    r"""Weibull distribution with :math:`P(X > x) = \exp(-(x / \lambda)^k)`.

    A draw is :math:`\lambda E^{1/k}` with standard exponential :math:`E`, made in the kernel that writes the sample;
    pathwise gradients are :math:`\partial x/\partial\lambda = x/\lambda` and
    :math:`\partial x/\partial k = -x \log(E) / k^2`. Samples are positive and finite in every dtype.

    Example::

        >>> scale = torch.ones(3, requires_grad=True)
        >>> x = Weibull(scale, 1.5).rsample((16,))
        >>> x.shape
        torch.Size([16, 3])

    Args:
        scale: :math:`\lambda`, positive; a number or floating-point tensor.
        concentration: :math:`k`, positive; broadcasts with `scale`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and an argument is not positive.
        RuntimeError: `scale` and `concentration` do not broadcast.
    """

    _examples = (
        Example(
            {"scale": POSITIVE, "concentration": (0.7, 2.5)},
            scipy=lambda stats, scale, concentration: stats.weibull_min(concentration, 0, scale),
            rounding=64,
        ),
    )

    _samplers = (Sampler(WEIBULL_LAW),)

    def __init__(self, scale: Tensor | float, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        scale, concentration = broadcastable(scale=scale, concentration=concentration)
        self.scale, self.concentration = broadcast_all(scale, concentration)
        Distribution.__init__(self, self.scale.shape, validate_args=False)
        self._accept(validate_args, scale=scale, concentration=concentration)

    @part
    def base_dist(self) -> Exponential:
        return Exponential(torch.ones_like(self.scale), validate_args=False)

    @part
    def transforms(self) -> list[Transform]:
        return [PowerTransform(exponent=self.concentration_reciprocal), AffineTransform(loc=0, scale=self.scale)]

    @part
    def concentration_reciprocal(self) -> Tensor:
        """1 / `concentration`: what a standard exponential number is raised to."""
        return self.concentration.reciprocal()

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked_log_prob_at(value)

    @property
    def mode(self) -> Tensor:
        """0 where the concentration is not above 1."""
        return self.scale * (1 - 1 / self.concentration).clamp(min=0) ** (1 / self.concentration)
