"""Bernoulli distribution with the straight-through gradient."""

from __future__ import annotations

import math

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.bernoulli_straight_through import (
    BERNOULLI_STRAIGHT_THROUGH_LOGITS_LAW,
    BERNOULLI_STRAIGHT_THROUGH_PROBS_LAW,
)

from ._examples import LOGITS, PROBS, Example
from .bernoulli import Bernoulli


class BernoulliStraightThrough(Bernoulli):
    r"""Bernoulli distribution whose :meth:`rsample` passes gradients through as if the sample were its probability.

    The sample is a hard 0 or 1; its gradient is that of p, :math:`\partial x/\partial p = 1`. The estimator is biased,
    and often good enough. It is to :class:`Bernoulli` what torch's `OneHotCategoricalStraightThrough` is to
    `OneHotCategorical`.

    Source: Bengio, Léonard and Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for
    Conditional Computation" (2013).

    Example::

        >>> probs = torch.full((4,), 0.5, requires_grad=True)
        >>> BernoulliStraightThrough(probs).rsample().sum().backward()
        >>> probs.grad
        tensor([1., 1., 1., 1.])

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

    has_rsample = True
    _samplers = (Sampler(BERNOULLI_STRAIGHT_THROUGH_PROBS_LAW), Sampler(BERNOULLI_STRAIGHT_THROUGH_LOGITS_LAW))
