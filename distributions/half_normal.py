"""Half-Normal distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.normal import HALF_NORMAL_LAW

from ._examples import NORMAL_ROUNDING, POSITIVE, Example
from ._sampling import FusedSampling
from .transformed_distribution import TransformedDistribution


class HalfNormal(FusedSampling, TransformedDistribution, torch.distributions.HalfNormal):
    r"""Half-normal distribution: the absolute value of a normal number of mean 0.

    A draw is :math:`\sigma|\epsilon|`; the pathwise gradient is :math:`\partial x/\partial\sigma = |\epsilon|`.

    Example::

        >>> HalfNormal(torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        scale: scale, positive; a number or floating-point tensor.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or NaN.
    """

    _examples = (
        Example({"scale": POSITIVE}, scipy=lambda stats, scale: stats.halfnorm(0, scale), rounding=NORMAL_ROUNDING),
    )

    _samplers = (Sampler(HALF_NORMAL_LAW),)

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        # torch's own constructor makes the base's loc of a number, and waits for a GPU to have it.
        loc = torch.zeros((), dtype=scale.dtype, device=scale.device) if isinstance(scale, Tensor) else 0
        base = torch.distributions.Normal(loc, scale, validate_args=False)
        TransformedDistribution.__init__(self, base, torch.distributions.AbsTransform(), validate_args=False)
        self._accept(validate_args, scale=scale)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked_log_prob_at(value)
