"""Bernoulli distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.formula.special import binary_entropy, binary_entropy_of_logits
from rsample.kernels.laws.bernoulli import BERNOULLI_LOGITS_LAW, BERNOULLI_PROBS_LAW

from ._arguments import check_one_of
from ._examples import LOGITS, PROBS, Example
from ._sampling import FusedSampling, widened


class Bernoulli(FusedSampling, torch.distributions.Bernoulli):
    r"""Bernoulli distribution: 1 with probability p, else 0.

    A draw is :math:`u < p` with u uniform on a grid of 2**-24 (2**-53 for float64 parameters), so an outcome's
    probability is p rounded up to that grid. From logits the same comparison is made without computing p. There is
    no reparameterisation: gradients need a score-function estimator or a relaxation.

    Example::

        >>> Bernoulli(logits=torch.zeros(4)).sample().shape
        torch.Size([4])

    Args:
        probs: probability of 1, in [0, 1]; a number or floating-point tensor.
        logits: log-odds of 1; exactly one of `probs` and `logits` is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, or validation is on and `probs` is outside [0, 1] or NaN.
    """

    _examples = (
        Example({"probs": PROBS}, scipy=lambda stats, probs: stats.bernoulli(probs)),
        Example({"logits": LOGITS}, scipy=lambda stats, logits: stats.bernoulli(1 / (1 + math.exp(-logits)))),
    )

    _samplers = (Sampler(BERNOULLI_PROBS_LAW), Sampler(BERNOULLI_LOGITS_LAW))

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        torch.distributions.Bernoulli.__init__(self, probs, logits, validate_args=False)
        self._accept(validate_args, **check_one_of(probs=probs, logits=logits))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass, -inf of an outcome of probability 0; linear in `value` between 0 and 1."""
        return self._checked_log_prob_at(value)

    def entropy(self) -> Tensor:
        if self._from_logits:
            return widened(binary_entropy_of_logits, self.logits)
        return widened(binary_entropy, self.probs)
