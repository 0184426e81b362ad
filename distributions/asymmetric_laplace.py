"""Asymmetric Laplace distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.asymmetric_laplace import ASYMMETRIC_LAPLACE_LAW

from ._examples import LOC_SCALE, Example
from ._numbers import Numbers


class AsymmetricLaplace(Numbers):
    r"""Asymmetric Laplace distribution: scale :math:`\sigma\kappa` left of :math:`\mu`, :math:`\sigma/\kappa` right.

    The density is :math:`e^{-|x - \mu| / s} / \sigma(\kappa + 1/\kappa)` with the scale s of its side. A draw is a
    quantile of one uniform number; its gradients are those of the quantile. Samples are finite in every dtype.
    Source: Kotz, Kozubowski and Podgorski, "The Laplace distribution and generalizations" (2001).

    Example::

        >>> AsymmetricLaplace(torch.zeros(3), 1.0, asymmetry=0.5).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: :math:`\mu`, the mode; a number or floating-point tensor.
        scale: :math:`\sigma`, positive; broadcasts with the others.
        asymmetry: :math:`\kappa`, positive; 1 for the Laplace distribution, below 1 leans to the right.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` or `asymmetry` is not positive or an argument is NaN.
        RuntimeError: the parameters do not broadcast.
    """

    _examples = (
        Example(
            {**LOC_SCALE, "asymmetry": (0.5, 2.0)},
            scipy=lambda stats, loc, scale, asymmetry: stats.laplace_asymmetric(asymmetry, loc, scale),
        ),
    )
    _samplers = (Sampler(ASYMMETRIC_LAPLACE_LAW),)
    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "asymmetry": constraints.positive,
    }
    support = constraints.real
    loc: Tensor
    scale: Tensor
    asymmetry: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        asymmetry: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise(validate_args, loc=loc, scale=scale, asymmetry=asymmetry)

    def cdf(self, value: Tensor) -> Tensor:
        def cdf(x: Tensor, loc: Tensor, scale: Tensor, k: Tensor) -> Tensor:
            z = (x - loc) / scale
            below = x < loc
            left = torch.exp(torch.where(below, z, 0.0) / k) / (1 + 1 / (k * k))
            return torch.where(below, left, 1 - torch.exp(-torch.where(below, 0.0, z) * k) / (1 + k * k))

        return self._at(cdf, value)

    def icdf(self, value: Tensor) -> Tensor:
        def icdf(u: Tensor, loc: Tensor, scale: Tensor, k: Tensor) -> Tensor:
            p = 1 / (1 + 1 / (k * k))
            left, right = k * torch.log(u / p), -torch.log((1 - u) * (1 + k * k)) / k
            return loc + scale * torch.where(u < p, left, right)

        return self._of_parameters(icdf, value)

    @property
    def mean(self) -> Tensor:
        return self._of_parameters(lambda loc, scale, k: loc + scale * (1 / k - k))

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self._of_parameters(lambda loc, scale, k: scale * scale * (k * k + 1 / (k * k)))

    def entropy(self) -> Tensor:
        return self._of_parameters(lambda loc, scale, k: 1 + torch.log(scale) + torch.log(k + 1 / k))
