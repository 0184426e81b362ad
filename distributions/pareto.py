"""Pareto distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, Exponential, ExpTransform, Transform
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.pareto import PARETO_LAW

from ._arguments import broadcastable
from ._examples import POSITIVE, Example
from ._parts import part
from ._sampling import FusedSampling
from .transformed_distribution import TransformedDistribution


class Pareto(FusedSampling, TransformedDistribution, torch.distributions.Pareto):
    r"""Pareto distribution with :math:`P(X > x) = (m / x)^\alpha` from :math:`m` on.

    A draw is :math:`m \exp(E / \alpha)` with standard exponential :math:`E`, made in the kernel that writes the sample;
    pathwise gradients are :math:`\partial x/\partial m = x/m` and
    :math:`\partial x/\partial\alpha = -x E / \alpha^2`. Samples are finite and not less than :math:`m`.

    Example::

        >>> x = Pareto(torch.ones(3), 2.0).sample((16,))
        >>> bool((x >= 1).all())
        True

    Args:
        scale: :math:`m`, the least value, positive; a number or floating-point tensor.
        alpha: exponent of the tail, positive; broadcasts with `scale`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and an argument is not positive.
        RuntimeError: `scale` and `alpha` do not broadcast.
    """

    _examples = (
        Example(
            {"scale": POSITIVE, "alpha": (0.8, 3.0)},
            scipy=lambda stats, scale, alpha: stats.pareto(alpha, 0, scale),
            rounding=128,
        ),
    )

    _samplers = (Sampler(PARETO_LAW),)

    def __init__(self, scale: Tensor | float, alpha: Tensor | float, validate_args: bool | None = None) -> None:
        scale, alpha = broadcastable(scale=scale, alpha=alpha)
        self.scale, self.alpha = broadcast_all(scale, alpha)
        Distribution.__init__(self, self.scale.shape, validate_args=False)
        self._accept(validate_args, scale=scale, alpha=alpha)

    @part
    def base_dist(self) -> Exponential:
        return Exponential(self.alpha, validate_args=False)

    @part
    def transforms(self) -> list[Transform]:
        return [ExpTransform(), AffineTransform(loc=0, scale=self.scale)]

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_value = value.log()
        return self.alpha.log() + self.alpha * (self.scale.log() - log_value) - log_value
