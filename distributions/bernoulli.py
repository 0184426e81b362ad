"""Bernoulli distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draw import Sampler
from rsample.kernels.maps.bernoulli import BERNOULLI_LOGITS_MAP, BERNOULLI_PROBS_MAP

from ._sampling import FusedSampling

_FROM_PROBS = Sampler(BERNOULLI_PROBS_MAP)
_FROM_LOGITS = Sampler(BERNOULLI_LOGITS_MAP)


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

    def _draw_with(self) -> tuple[Sampler, list[Tensor]]:
        # Both attributes may exist: torch computes the one that was not given when somebody asks for it.
        if self._param is self.__dict__.get("probs"):
            return _FROM_PROBS, [self._param]
        return _FROM_LOGITS, [self._param]
