"""Binomial distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.formula.special import in_double, log_chances, log_chances_of_logits
from rsample.kernels.laws.binomial import BINOMIAL_LOGITS_LAW, BINOMIAL_PROBS_LAW

from ._arguments import broadcastable, check_one_of
from ._examples import LOGITS, PROBS, Example
from ._sampling import FusedSampling


class Binomial(FusedSampling, torch.distributions.Binomial):
    r"""Binomial distribution: successes in n trials, :math:`P(X = k) = \binom{n}{k} p^k (1 - p)^{n - k}`.

    A draw counts the rarer of success and failure: by waiting times (Devroye 1986) where fewer than 10 of it are
    expected, and by the transformed rejection of Hörmann (1993) elsewhere. Both are exact up to rounding for any number
    of trials; beyond 2**24 a float32 sample is a rounded count. There is no reparameterisation: gradients need a
    score-function estimator.

    Example::

        >>> Binomial(10, torch.tensor([0.5, 0.9])).sample((5,)).shape
        torch.Size([5, 2])

    Args:
        total_count: number of trials, whole and non-negative; a number or tensor that broadcasts with `probs` or
            `logits`.
        probs: probability of success, in [0, 1]; a floating-point tensor.
        logits: log-odds of success; exactly one of `probs` and `logits` is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, or validation is on and `probs` is outside [0, 1] or NaN,
            or `total_count` negative or not whole.
        RuntimeError: `total_count` does not broadcast with `probs` or `logits`.
    """

    _examples = (
        Example(
            {"total_count": 7, "probs": PROBS}, scipy=lambda stats, total_count, probs: stats.binom(total_count, probs)
        ),
        Example({"total_count": 7, "logits": LOGITS}),
    )

    _samplers = (Sampler(BINOMIAL_PROBS_LAW), Sampler(BINOMIAL_LOGITS_LAW))

    def __init__(
        self,
        total_count: Tensor | int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        total_count, probs, logits = broadcastable(total_count=total_count, probs=probs, logits=logits)
        torch.distributions.Binomial.__init__(self, total_count, probs, logits, validate_args=False)
        trials = total_count.type_as(self._param) if isinstance(total_count, Tensor) else total_count
        self._accept(validate_args, total_count=trials, **check_one_of(probs=probs, logits=logits))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass, -inf of a count of probability 0."""
        if self._validate_args:
            self._validate_sample(value)
        chances, log_mass = (self.logits, log_chances_of_logits) if self._from_logits else (self.probs, log_chances)

        def log_prob(k: Tensor, n: Tensor, chances: Tensor) -> Tensor:
            log_ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
            return log_ways + log_mass(k, n - k, chances)

        return in_double(log_prob, value, self.total_count, chances)

    def entropy(self) -> Tensor:
        # Of torch's sum over all counts those of probability 0 are no part.
        trials = int(self.total_count.max())
        if self.total_count.min() != trials:
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(torch.exp(log_prob) * log_prob.clamp(min=torch.finfo(log_prob.dtype).min)).sum(0)
