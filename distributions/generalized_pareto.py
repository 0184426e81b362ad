"""Generalized Pareto distribution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import constraints

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.generalized_pareto import (
    GENERALIZED_PARETO_LAW,
    generalized_pareto_end,
    generalized_pareto_log_prob_at,
    generalized_pareto_log_survival,
)
from rsample.kernels.stream.noise import compute_dtype

from ._arguments import broadcastable
from ._examples import LOC_SCALE, Example
from ._sampling import FusedSampling, widened


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

    _examples = (
        Example(
            {**LOC_SCALE, "concentration": (-0.8, 0.8)},
            scipy=lambda stats, loc, scale, concentration: stats.genpareto(concentration, loc, scale),
            rounding=64,
        ),
    )

    _samplers = (Sampler(GENERALIZED_PARETO_LAW),)

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        concentration: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        loc, scale, concentration = broadcastable(loc=loc, scale=scale, concentration=concentration)
        torch.distributions.GeneralizedPareto.__init__(self, loc, scale, concentration, validate_args=False)
        self._accept(validate_args, loc=loc, scale=scale, concentration=concentration)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        # The end is no float16 or bfloat16 in general, and a sample may lie above the one nearest to it.
        params = [p.to(compute_dtype(p.dtype)) for p in (self.loc, self.scale, self.concentration)]
        return constraints.interval(params[0], generalized_pareto_end(0.0, *params))

    def log_prob(self, value: Tensor) -> Tensor:
        return self._at(generalized_pareto_log_prob_at, value, -torch.inf)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of a number greater than `value`."""
        return self._at(generalized_pareto_log_survival, value, 0.0)

    def cdf(self, value: Tensor) -> Tensor:
        return -torch.expm1(self.log_survival_function(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of a number up to `value`."""
        return torch.log(self.cdf(value))

    def _at(self, function: Callable[..., Tensor], value: Tensor, below: float) -> Tensor:
        """The function at a sample; `below` where it is less than any, and -inf beyond all."""
        if self._validate_args:
            self._validate_sample(value)
        support = self.support
        too_small, too_large = value < support.lower_bound, (value > support.upper_bound) | (value == torch.inf)
        inside = torch.where(too_small | too_large, self.loc, value)
        at = widened(function, inside, self.loc, self.scale, self.concentration)
        return torch.where(too_small, below, torch.where(too_large, -torch.inf, at))
