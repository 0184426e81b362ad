"""Binomial distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draw import Sampler
from rsample.kernels.maps.binomial import BINOMIAL_LOGITS_MAP, BINOMIAL_PROBS_MAP

from ._sampling import FusedSampling, check_broadcast, check_one_of


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

    _samplers = (Sampler(BINOMIAL_PROBS_MAP), Sampler(BINOMIAL_LOGITS_MAP))

    def __init__(
        self,
        total_count: Tensor | int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        check_broadcast(total_count=total_count, probs=probs, logits=logits)
        super().__init__(total_count, probs, logits, validate_args=False)
        trials = total_count.type_as(self._param) if isinstance(total_count, Tensor) else total_count
        self._accept(validate_args, total_count=trials, **check_one_of(probs=probs, logits=logits))
