"""Rayleigh distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.rayleigh import RAYLEIGH_LAW

from ._examples import POSITIVE, Example
from ._numbers import Numbers


class Rayleigh(Numbers):
    r"""Rayleigh distribution with :math:`P(X > x) = e^{-x^2 / 2\sigma^2}`: the length of two normal numbers.

    A draw is :math:`\sigma\sqrt{2E}` with standard exponential E. Samples are positive and finite in every dtype.

    Example::

        >>> Rayleigh(torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        scale: :math:`\sigma`, positive; a number or floating-point tensor, whose shape is that of a batch.
        validate_args: check the argument; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive.
    """

    _examples = (
        Example(
            {"scale": POSITIVE},
            scipy=lambda stats, scale: stats.rayleigh(0, scale),
            torch=lambda td, scale: td.Weibull(math.sqrt(2) * scale, torch.full_like(scale, 2.0)),
            rounding=32,  # a GPU's exponential number is within 3e-6 relative
        ),
    )
    _samplers = (Sampler(RAYLEIGH_LAW),)
    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    scale: Tensor

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise(validate_args, scale=scale)

    def cdf(self, value: Tensor) -> Tensor:
        return self._at(lambda x, scale: -torch.expm1(-0.5 * (x / scale) ** 2), value)

    def icdf(self, value: Tensor) -> Tensor:
        return self._of_parameters(lambda p, scale: scale * torch.sqrt(-2 * torch.log1p(-p)), value)

    @property
    def mean(self) -> Tensor:
        return math.sqrt(math.pi / 2) * self.scale

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return (2 - math.pi / 2) * self.scale**2

    def entropy(self) -> Tensor:
        return self._of_parameters(lambda scale: torch.log(scale) + (1 + 0.5 * (0.5772156649015329 - math.log(2))))
