"""Geometric distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.geometric import (
    GEOMETRIC_LOGITS_LAW,
    GEOMETRIC_PROBS_LAW,
    geometric_logits_entropy,
    geometric_probs_entropy,
)

from ._arguments import check_one_of
from ._examples import LOGITS, PROBS, Example
from ._sampling import FusedSampling, widened


class Geometric(FusedSampling, torch.distributions.Geometric):
    r"""Geometric distribution: the number of failures before the first success, :math:`P(X = k) = (1 - p)^k p`.

    A draw is :math:`\lfloor E / L \rfloor` with standard exponential :math:`E` and :math:`L = -\log(1 - p)`, which is
    exact also where p is small; from logits p is never computed. A sample too large for its dtype is the dtype's
    largest number; from logits below -84 (-704 in float64) it is one of L = 1.5e-37 (1e-306). There is no
    reparameterisation: gradients need a score-function estimator.

    Example::

        >>> Geometric(torch.tensor([0.3, 1.0])).sample((5,)).shape
        torch.Size([5, 2])

    Args:
        probs: probability of success, in (0, 1]; a number or floating-point tensor.
        logits: log-odds of success; exactly one of `probs` and `logits` is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, or validation is on and `probs` is outside (0, 1] or NaN.
    """

    _examples = (
        Example({"probs": PROBS}, scipy=lambda stats, probs: stats.geom(probs, -1)),
        Example({"logits": LOGITS}, scipy=lambda stats, logits: stats.geom(1 / (1 + math.exp(-logits)), -1)),
    )

    _samplers = (Sampler(GEOMETRIC_PROBS_LAW), Sampler(GEOMETRIC_LOGITS_LAW))

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        torch.distributions.Geometric.__init__(self, probs, logits, validate_args=False)
        self._accept(validate_args, **check_one_of(probs=probs, logits=logits))
        if self._validate_args and probs is not None:
            self._require_all(self.probs > 0, "probs", self.probs, constraints.positive)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass; of logits without their p, which rounds to 0 or 1."""
        return self._checked_log_prob_at(value)

    @property
    def mean(self) -> Tensor:
        return torch.exp(-self.logits) if self._from_logits else (1 - self.probs) / self.probs

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 + self.mean)

    def entropy(self) -> Tensor:
        if self._from_logits:
            return widened(geometric_logits_entropy, self.logits)
        return widened(geometric_probs_entropy, self.probs)
