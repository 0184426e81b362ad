"""Half-Cauchy distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.cauchy import HALF_CAUCHY_LAW, half_cauchy_icdf

from ._examples import POSITIVE, Example
from ._sampling import FusedSampling, widened
from .transformed_distribution import TransformedDistribution


class HalfCauchy(FusedSampling, TransformedDistribution, torch.distributions.HalfCauchy):
    r"""Half-Cauchy distribution: the absolute value of a Cauchy number of median 0.

    A draw is :math:`\gamma|\cot\pi t|` with t uniform in [-1/2, 1/2] and never 0; the pathwise gradient is
    :math:`\partial x/\partial\gamma = |\cot\pi t|`.

    Example::

        >>> HalfCauchy(torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        scale: scale, positive; a number or floating-point tensor.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or NaN.
    """

    _examples = (Example({"scale": POSITIVE}, scipy=lambda stats, scale: stats.halfcauchy(0, scale)),)

    _samplers = (Sampler(HALF_CAUCHY_LAW),)

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        # torch's own constructor makes the base's loc of a number, and waits for a GPU to have it.
        loc = torch.zeros((), dtype=scale.dtype, device=scale.device) if isinstance(scale, Tensor) else 0
        base = torch.distributions.Cauchy(loc, scale, validate_args=False)
        TransformedDistribution.__init__(self, base, torch.distributions.AbsTransform(), validate_args=False)
        self._accept(validate_args, scale=scale)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked_log_prob_at(value)

    def icdf(self, value: Tensor) -> Tensor:
        return widened(half_cauchy_icdf, value, self.scale)
