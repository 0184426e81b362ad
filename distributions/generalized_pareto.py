"""Generalized Pareto distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draw import Sampler
from rsample.kernels.maps.generalized_pareto import (
    GENERALIZED_PARETO_MAP,
    generalized_pareto_log_prob_at,
    generalized_pareto_log_survival,
)

from ._sampling import FusedSampling, check_broadcast


class GeneralizedPareto(FusedSampling, torch.distributions.GeneralizedPareto):
    r"""Generalized Pareto distribution: :math:`P(X > x) = (1 + c z)^{-1/c}`, :math:`z = (x - \mu)/\sigma`.

    A draw is :math:`\mu + \sigma(e^{cE} - 1)/c` with standard exponential :math:`E`, and :math:`\mu + \sigma E` where
    :math:`c = 0`. The map and all its derivatives are smooth there, and so is :meth:`log_prob`.

    Example::

        >>> concentration = torch.zeros(3, requires_grad=True)
        >>> x = GeneralizedPareto(0.0, 1.0, concentration).rsample((16,))
        >>> x.sum().backward()
        >>> bool((concentration.grad > 0).all())
        True

    Args:
        loc: :math:`\mu`, the least value; a number or floating-point tensor.
        scale: :math:`\sigma`, positive; broadcasts with `loc`.
        concentration: :math:`c`: heavy tails where positive, values up to :math:`\mu - \sigma/c` where negative.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: the parameters do not broadcast.
    """

    _samplers = (Sampler(GENERALIZED_PARETO_MAP),)

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        concentration: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        check_broadcast(loc=loc, scale=scale, concentration=concentration)
        super().__init__(loc, scale, concentration, validate_args=validate_args)
        self._keep_given(loc=loc, scale=scale, concentration=concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return generalized_pareto_log_prob_at(value, self.loc, self.scale, self.concentration)

    def log_survival_function(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return generalized_pareto_log_survival(value, self.loc, self.scale, self.concentration)
