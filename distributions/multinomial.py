"""Multinomial distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._sampling import KeyedSampling, checked_sample_shape
from .categorical import Categorical


class Multinomial(KeyedSampling, torch.distributions.Multinomial):
    r"""Multinomial distribution: how often each of K categories occurs in n independent trials.

    A draw counts n draws of :class:`Categorical` for each element, which take memory for n integers until they are
    counted. There is no reparameterisation: gradients need a score-function estimator.

    Example::

        >>> Multinomial(10, torch.ones(4)).sample((3,)).shape
        torch.Size([3, 4])

    Args:
        total_count: number n of trials, an int: the same for all elements.
        probs: probabilities, non-negative and with a positive sum, of shape (..., K).
        logits: log-probabilities up to a number for each row, of shape (..., K); exactly one of `probs` and `logits`
            is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        NotImplementedError: `total_count` is not an int.
        ValueError: both or neither of `probs` and `logits`, one without a dimension, or validation is on and a row
            has no distribution.
    """

    _categorical: Categorical

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args=validate_args)
        # Its arguments have been checked.
        self._categorical = Categorical(probs, logits, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Multinomial:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them."""
        new: Multinomial = self._get_checked_instance(Multinomial, _instance)
        super().expand(torch.Size(batch_shape), _instance=new)
        return new

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        shape = torch.Size((self.total_count, *checked_sample_shape(sample_shape)))
        category = self._categorical.sample(shape, generator=generator, key=key).movedim(0, -1)
        empty = torch.zeros(self._extended_shape(shape[1:]), dtype=torch.int64, device=category.device)
        sample = empty.scatter_add(-1, category, torch.ones_like(category)).type_as(self.probs)
        return (sample, self.log_prob(sample)) if log_prob else (sample,)
