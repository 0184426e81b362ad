"""Inverse Gaussian distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.inverse_gaussian import INVERSE_GAUSSIAN_LAW, inverse_gaussian_cdf, inverse_gaussian_log_prob

from ._examples import POSITIVE, Example
from ._numbers import Numbers


class InverseGaussian(Numbers):
    r"""Inverse Gaussian (Wald) distribution: the time that a Brownian motion with drift takes to a level.

    The density is :math:`\sqrt{\lambda/2\pi x^3}\,e^{-\lambda(x-\mu)^2/2\mu^2x}`.
    A draw is a root of a quadratic equation, picked by a second number (Michael, Schucany and Haas 1976), without
    rejection. Gradients are the implicit ones of the distribution function (Figurnov et al. 2018), in closed form.
    Samples are positive and finite in every dtype.

    Example::

        >>> InverseGaussian(torch.ones(3), 2.0).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: :math:`\mu`, the mean, positive; a number or floating-point tensor.
        concentration: :math:`\lambda`, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and an argument is not positive.
        RuntimeError: `loc` and `concentration` do not broadcast.
    """

    _examples = (
        Example(
            {"loc": POSITIVE, "concentration": POSITIVE},
            scipy=lambda stats, loc, concentration: stats.invgauss(loc / concentration, 0, concentration),
            rounding=256,
        ),
    )
    _samplers = (Sampler(INVERSE_GAUSSIAN_LAW),)
    arg_constraints = {"loc": constraints.positive, "concentration": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    loc: Tensor
    concentration: Tensor

    def __init__(self, loc: Tensor | float, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise(validate_args, loc=loc, concentration=concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._at(inverse_gaussian_log_prob, value)

    def cdf(self, value: Tensor) -> Tensor:
        return self._at(inverse_gaussian_cdf, value)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        def mode(loc: Tensor, concentration: Tensor) -> Tensor:
            ratio = 1.5 * loc / concentration
            return loc / (torch.sqrt(1 + ratio * ratio) + ratio)

        return self._of_parameters(mode)

    @property
    def variance(self) -> Tensor:
        return self._of_parameters(lambda loc, concentration: loc * loc * (loc / concentration))
