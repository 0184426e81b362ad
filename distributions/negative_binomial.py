"""Negative binomial distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.formula.special import in_double, log_chances, log_chances_of_logits
from rsample.kernels.laws.negative_binomial import NEGATIVE_BINOMIAL_LOGITS_LAW, NEGATIVE_BINOMIAL_PROBS_LAW

from ._arguments import broadcastable, check_one_of
from ._examples import LOGITS, PROBS, Example
from ._sampling import FusedSampling


class NegativeBinomial(FusedSampling, torch.distributions.NegativeBinomial):
    r"""Negative binomial distribution: the successes, each of probability p, before the r-th failure.

    .. math:: P(X = k) = \frac{\Gamma(r + k)}{\Gamma(r)\, k!} (1 - p)^r p^k

    A draw is a Poisson count whose rate is :math:`p / (1 - p)` times a standard gamma number of concentration r, both
    made in one kernel. r need not be whole; with r = 0 every sample is 0. There is no reparameterisation: gradients
    need a score-function estimator.

    Example::

        >>> NegativeBinomial(2.5, torch.tensor([0.5, 0.9])).sample((5,)).shape
        torch.Size([5, 2])

    Args:
        total_count: number r of failures, non-negative; a number or tensor that broadcasts with `probs` or `logits`.
        probs: probability of success, in [0, 1); a floating-point tensor.
        logits: log-odds of success; exactly one of `probs` and `logits` is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, or validation is on and `probs` is outside [0, 1) or NaN,
            or `total_count` negative or NaN.
        RuntimeError: `total_count` does not broadcast with `probs` or `logits`.
    """

    _examples = (
        Example(
            {"total_count": (1.0, 5.0), "probs": PROBS},
            scipy=lambda stats, total_count, probs: stats.nbinom(total_count, 1 - probs),
        ),
        Example({"total_count": (1.0, 5.0), "logits": LOGITS}),
    )

    _samplers = (Sampler(NEGATIVE_BINOMIAL_PROBS_LAW), Sampler(NEGATIVE_BINOMIAL_LOGITS_LAW))

    def __init__(
        self,
        total_count: Tensor | float,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        total_count, probs, logits = broadcastable(total_count=total_count, probs=probs, logits=logits)
        torch.distributions.NegativeBinomial.__init__(self, total_count, probs, logits, validate_args=False)
        failures = total_count.type_as(self._param) if isinstance(total_count, Tensor) else total_count
        self._accept(validate_args, total_count=failures, **check_one_of(probs=probs, logits=logits))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass, -inf of a count of probability 0."""
        if self._validate_args:
            self._validate_sample(value)
        chances, log_mass = (self.logits, log_chances_of_logits) if self._from_logits else (self.probs, log_chances)

        def log_prob(k: Tensor, r: Tensor, chances: Tensor) -> Tensor:
            # Without failures to wait for there are no successes.
            none = r == 0
            waits = torch.where(none, 1.0, r)
            log_ways = torch.lgamma(waits + k) - torch.lgamma(k + 1) - torch.lgamma(waits)
            degenerate = torch.where(k == 0, 0.0, -torch.inf)
            return torch.where(none, degenerate, log_ways + log_mass(k, waits, chances))

        return in_double(log_prob, value, self.total_count, chances)

    @property
    def _odds(self) -> Tensor:
        return torch.exp(self.logits) if self._from_logits else self.probs / (1 - self.probs)

    @property
    def mean(self) -> Tensor:
        r""":math:`r p / (1 - p)`."""
        return self.total_count * self._odds

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self._odds).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        r""":math:`r p / (1 - p)^2`."""
        return self.mean * (1 + self._odds)
