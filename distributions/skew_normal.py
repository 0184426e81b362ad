"""Skew-normal distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.skew_normal import SKEW_NORMAL_LAW, skew_normal_log_prob

from ._examples import LOC_SCALE, NORMAL_ROUNDING, Example
from ._numbers import Numbers


class SkewNormal(Numbers):
    r"""Skew-normal distribution with density :math:`2\varphi(z)\Phi(\alpha z)/\sigma`, :math:`z = (x - \mu)/\sigma`.

    A draw is :math:`\mu + \sigma(\alpha|a| + b)/\sqrt{1 + \alpha^2}` with standard normal a and b (Henze 1986).
    Samples are finite in every dtype.
    Source: Azzalini, "A class of distributions which includes the normal ones" (1985).

    Example::

        >>> SkewNormal(torch.zeros(3), 1.0, alpha=4.0).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: :math:`\mu`, a number or floating-point tensor.
        scale: :math:`\sigma`, positive; broadcasts with the others.
        alpha: :math:`\alpha`, as in scipy and PyMC: 0 for the normal distribution, positive leans to the right.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: the parameters do not broadcast.
    """

    _examples = (
        Example(
            {**LOC_SCALE, "alpha": (-3.0, 3.0)},
            scipy=lambda stats, loc, scale, alpha: stats.skewnorm(alpha, loc, scale),
            rounding=NORMAL_ROUNDING,
        ),
    )
    _samplers = (Sampler(SKEW_NORMAL_LAW),)
    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "alpha": constraints.real,
    }
    support = constraints.real
    loc: Tensor
    scale: Tensor
    alpha: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        alpha: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise(validate_args, loc=loc, scale=scale, alpha=alpha)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._at(skew_normal_log_prob, value)

    @property
    def mean(self) -> Tensor:
        c = math.sqrt(2 / math.pi)
        return self._of_parameters(lambda loc, scale, a: loc + c * scale * a * torch.rsqrt(1 + a * a))

    @property
    def variance(self) -> Tensor:
        return self._of_parameters(lambda loc, scale, a: scale * scale * (1 - 2 / math.pi * a * a / (1 + a * a)))
