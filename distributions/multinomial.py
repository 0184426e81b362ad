"""Multinomial distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from rsample.kernels.rows.draw import draw_rows
from rsample.kernels.rows.ops import race

from ._sampling import KeyedSampling, checked_sample_shape, unexpanded
from ._validation import refuse_dtensors


class Multinomial(KeyedSampling, torch.distributions.Multinomial):
    r"""Multinomial distribution: how often each of K categories occurs in n independent trials.

    A draw counts n draws of :class:`Categorical`, which take memory until they are counted. There is no
    reparameterisation: gradients need a score-function estimator.

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

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        refuse_dtensors(self, probs, logits)
        if not isinstance(total_count, int):
            raise NotImplementedError(f"total_count must be an int, the same for all elements; got {total_count!r}")
        # torch's constructor validates what it is made of whatever it is told, which torch.compile cannot trace.
        self.total_count = total_count
        categorical = torch.distributions.Categorical(probs, logits, validate_args=False)
        self._categorical = categorical
        self._binomial = torch.distributions.Binomial(total_count, categorical.probs, validate_args=False)
        Distribution.__init__(self, categorical.batch_shape, categorical.param_shape[-1:], validate_args=False)
        self._check_arguments(validate_args)

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
        # As it was before it was expanded: from what is given depends how it is drawn from.
        probs = unexpanded(self.probs.detach())
        shape = (self.total_count, *checked_sample_shape(sample_shape), *self.batch_shape, *self.event_shape)
        kind = race(from_probs=True, one_hot=False, log_prob=False, straight_through=False)
        (category,) = draw_rows(kind, {"probs": probs}, torch.Size(shape), generator=generator, key=key)
        category = category.movedim(0, -1)
        counts = torch.zeros(shape[1:], dtype=torch.int64, device=probs.device)
        return (counts.scatter_add(-1, category, torch.ones_like(category)).type_as(probs),)
