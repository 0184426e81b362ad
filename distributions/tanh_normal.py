"""Normal distribution squashed by tanh."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import TanhTransform

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.tanh_normal import TANH_NORMAL_LAW

from ._arguments import broadcastable
from ._examples import LOC_SCALE, NORMAL_ROUNDING, Example
from ._sampling import FusedSampling
from .transformed_distribution import TransformedDistribution


class TanhNormal(FusedSampling, TransformedDistribution):
    r"""Distribution of :math:`\tanh z` with normal z: the policy of soft actor-critic.

    A draw is :math:`\tanh(\mu + \sigma\epsilon)`, strictly inside of (-1, 1) in every dtype.
    :meth:`rsample_with_log_prob` computes the density from z itself, so that it and its gradients stay finite and exact
    where :math:`\tanh z` rounds to one; :meth:`log_prob` has only the sample, and takes z back from it.

    Source: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018), appendix C.

    Example::

        >>> action, log_prob = TanhNormal(torch.zeros(3), torch.ones(3)).rsample_with_log_prob()
        >>> log_prob.shape
        torch.Size([3])

    Args:
        loc: mean of z, a number or floating-point tensor.
        scale: standard deviation of z, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: `loc` and `scale` do not broadcast.
    """

    _examples = (
        Example(
            LOC_SCALE,
            rounding=NORMAL_ROUNDING,
            torch=lambda td, loc, scale: td.TransformedDistribution(
                td.Normal(loc, scale), td.TanhTransform(cache_size=1)
            ),
        ),
    )

    arg_constraints = torch.distributions.Normal.arg_constraints
    support = torch.distributions.constraints.interval(-1.0, 1.0)
    _samplers = (Sampler(TANH_NORMAL_LAW),)

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        loc, scale = broadcastable(loc=loc, scale=scale)
        base = torch.distributions.Normal(loc, scale, validate_args=False)
        TransformedDistribution.__init__(self, base, TanhTransform(cache_size=0), validate_args=False)
        self._accept(validate_args, loc=loc, scale=scale)

    base_dist: torch.distributions.Normal

    @property
    def loc(self) -> Tensor:
        """The mean of the normal number whose tanh a sample is."""
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """The standard deviation of that number."""
        return self.base_dist.scale

    @property
    def mode(self) -> Tensor:
        """tanh(loc), the deterministic action of a policy: the image of z's mode, not the density's own."""
        return torch.tanh(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if not value.is_floating_point():
            value = value.to(self.loc.dtype)
        # The ends of the interval, which others' arithmetic may round to, count as the numbers next to them.
        limit = 1 - torch.finfo(value.dtype).eps / 2
        return torch.where(value.abs() > 1, -torch.inf, self._log_prob_at(value.clamp(-limit, limit)))

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        normal = torch.distributions.Normal(self.loc, self.scale, validate_args=False)
        cdf: Tensor = normal.cdf(torch.atanh(value.clamp(-1, 1)))
        return cdf
