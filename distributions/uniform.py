"""Uniform distribution on an interval."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.uniform import UNIFORM_LAW

from ._arguments import broadcastable
from ._examples import Example
from ._sampling import FusedSampling


class Uniform(FusedSampling, torch.distributions.Uniform):
    r"""Uniform distribution on :math:`[a, b)`.

    A draw is :math:`a + (b - a)u`, where u has the resolution of the sample's dtype: a multiple of 2**-53, 2**-24,
    2**-11 or 2**-8 in float64, float32, float16 or bfloat16. `Uniform(0, 1)` equals `torch.func._random.uniform` bit
    for bit. Pathwise gradients are :math:`\partial x/\partial a = 1 - u` and :math:`\partial x/\partial b = u`.

    The sum is kept below `high`, which rounding could otherwise return where the interval is narrow compared with its
    position.

    Example::

        >>> Uniform(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 10.0])).sample((1000,)).shape
        torch.Size([1000, 2])

    Args:
        low: lower end, a number or floating-point tensor.
        high: upper end, greater than `low`; broadcasts with it.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `low` is not less than `high`.
        RuntimeError: `low` and `high` do not broadcast.
    """

    _examples = (
        Example(
            {"low": (-2.0, 0.0), "high": (0.5, 3.0)},
            scipy=lambda stats, low, high: stats.uniform(low, high - low),
            rounding=4,
        ),
    )

    _samplers = (Sampler(UNIFORM_LAW),)

    def __init__(self, low: Tensor | float, high: Tensor | float, validate_args: bool | None = None) -> None:
        low, high = broadcastable(low=low, high=high)
        torch.distributions.Uniform.__init__(self, low, high, validate_args=False)
        self._accept(validate_args, low=low, high=high)
