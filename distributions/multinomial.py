"""Multinomial distribution."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import lazy_property

from rsample.kernels.draws.rows.draw import count_categories
from rsample.kernels.formula.special import in_double, log_probability

from ._arguments import unexpanded
from ._examples import Example
from ._sampling import KeyedSampling, checked_sample_shape
from ._validation import refuse_dtensors
from .categorical import Categorical, initialise_checked


class Multinomial(KeyedSampling, torch.distributions.Multinomial):
    r"""Multinomial distribution: how often each of K categories occurs in n independent trials.

    A draw counts n draws of :class:`Categorical`, which take memory until they are counted. There is no
    reparameterisation: gradients need a score-function estimator.

    Example::

        >>> Multinomial(10, torch.ones(4)).sample((3,)).shape
        torch.Size([3, 4])

    Args:
        total_count: number n of trials, an int or what converts to one without loss, such as a 0-dim integer tensor:
            the same for all elements.
        probs: probabilities, non-negative and with a positive sum, of shape (..., K).
        logits: log-probabilities up to a number for each row, of shape (..., K); exactly one of `probs` and `logits`
            is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        NotImplementedError: `total_count` is not one whole number.
        ValueError: both or neither of `probs` and `logits`, one without a dimension, or validation is on and a row
            has no distribution.
    """

    _examples = (Example({"total_count": 5, "probs": (0.1, 1.0, 3)}),)

    _categorical: Categorical

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        refuse_dtensors(self, probs, logits)
        self.total_count = _as_int(total_count)
        self._set_categorical(Categorical(probs, logits, validate_args=validate_args), validate_args)

    def _set_categorical(self, categorical: Categorical, validate_args: bool | None) -> None:
        self._categorical = categorical
        initialise_checked(self, categorical.batch_shape, categorical.param_shape[-1:], validate_args)

    @lazy_property
    def _binomial(self) -> torch.distributions.Binomial:
        """Of each category, for the entropy."""
        return torch.distributions.Binomial(self.total_count, self.probs, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Multinomial:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them."""
        new: Multinomial = self._get_checked_instance(Multinomial, _instance)
        new.total_count = self.total_count
        new._set_categorical(self._categorical.expand(batch_shape), self._validate_args)
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass, -inf of counts of probability 0."""
        if self._validate_args:
            self._validate_sample(value)
        from_probs = self._categorical._in_force()[0] == "probs"

        def log_prob(counts: Tensor, chances: Tensor) -> Tensor:
            logits = torch.where(counts == 0, 0.0, log_probability(chances) if from_probs else chances)
            log_ways = torch.lgamma(counts.sum(-1) + 1) - torch.lgamma(counts + 1).sum(-1)
            return log_ways + (logits * counts).sum(-1)

        return in_double(log_prob, value, self.probs if from_probs else self.logits)

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        return (
            draw_counts(self._categorical.probs.detach(), self.total_count, sample_shape, generator=generator, key=key),
        )


def draw_counts(
    probs: Tensor,
    total_count: int,
    sample_shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """How often each category occurs, of shape `sample_shape + probs.shape` and the dtype of `probs`."""
    shape = torch.Size((total_count, *checked_sample_shape(sample_shape), *probs.shape))
    # As it was before it was expanded: from what is given depends how it is drawn from.
    return count_categories(unexpanded(probs), shape, generator=generator, key=key)


def _as_int(total_count: object) -> int:
    """A number of trials: an int, a numpy integer, a 0-dim tensor of integers."""
    try:
        if not isinstance(total_count, Tensor) or total_count.dim() == 0:
            return operator.index(total_count)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise NotImplementedError(
        f"total_count must be a whole number, the same for all elements; got {total_count!r}"
    ) from None
