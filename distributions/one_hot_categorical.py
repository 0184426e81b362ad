"""One-hot categorical distributions, with and without a straight-through gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._delegation import draw
from ._examples import Example
from ._sampling import KeyedSampling, checked_sample_shape
from .categorical import Categorical, initialise_checked


class OneHotCategorical(KeyedSampling, torch.distributions.OneHotCategorical):
    r"""Categorical distribution over the K unit vectors, from unnormalised probabilities or logits.

    Draws as :class:`~rsample.distributions.Categorical` does; with the same key both draw the same category. The kernel
    writes the vectors itself.

    Example::

        >>> OneHotCategorical(logits=torch.zeros(2, 4)).sample((3,)).sum(-1).unique()
        tensor([1.])

    Args:
        probs, logits, validate_args: as of :class:`~rsample.distributions.Categorical`.

    Raises:
        ValueError: as :class:`~rsample.distributions.Categorical`.
    """

    _examples: ClassVar[tuple[Example, ...]] = (
        Example({"probs": (0.1, 1.0, 3)}),
        Example({"logits": (-1.0, 1.0, 3)}),
    )

    _categorical: Categorical

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        self._set_categorical(Categorical(probs, logits, validate_args=validate_args), validate_args)

    def _set_categorical(self, categorical: Categorical, validate_args: bool | None) -> None:
        self._categorical = categorical
        initialise_checked(self, categorical.batch_shape, categorical.param_shape[-1:], validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> OneHotCategorical:
        new: OneHotCategorical = self._get_checked_instance(OneHotCategorical, _instance)
        new._set_categorical(self._categorical.expand(batch_shape), self._validate_args)
        return new

    def __repr__(self) -> str:
        return repr(self._categorical).replace(type(self._categorical).__name__, type(self).__name__, 1)

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        categorical, fused = self._categorical, False
        if isinstance(categorical, Categorical) and type(categorical).sample is Categorical.sample:
            fused = differentiable and categorical._is_as_given
            outputs = categorical._race(
                sample_shape, generator, key, one_hot=True, log_prob=log_prob, straight_through=fused
            )
        else:  # another distribution has been put in its place
            index = draw(categorical, checked_sample_shape(sample_shape), generator, key, differentiable=False)
            probs = categorical.probs
            outputs = (torch.nn.functional.one_hot(index, probs.shape[-1]).to(probs),)
        if differentiable and not fused:
            probs = categorical.probs
            outputs = (outputs[0] + (probs - probs.detach()),)
        return outputs


class OneHotCategoricalStraightThrough(OneHotCategorical, torch.distributions.OneHotCategoricalStraightThrough):
    r"""One-hot categorical distribution with the straight-through gradient (Bengio, Léonard and Courville 2013).

    The value is that of :class:`OneHotCategorical`. The gradient is defined as that of `probs`, without forming
    sample + probs - probs.detach() as torch.distributions does: biased, but of low variance.

    Example::

        >>> logits = torch.zeros(4, requires_grad=True)
        >>> OneHotCategoricalStraightThrough(logits=logits).rsample()[0].backward()
        >>> logits.grad
        tensor([ 0.1875, -0.0625, -0.0625, -0.0625])

    Args:
        probs, logits, validate_args: as of :class:`~rsample.distributions.Categorical`.

    Raises:
        ValueError: as :class:`~rsample.distributions.Categorical`.
    """

    _examples = (Example({"logits": (-1.0, 1.0, 3)}),)

    has_rsample = True
