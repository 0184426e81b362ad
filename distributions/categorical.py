"""Categorical distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property, logits_to_probs, probs_to_logits

from rsample.kernels.rows.draw import draw_rows
from rsample.kernels.rows.ops import race

from ._sampling import KeyedSampling, checked_sample_shape
from ._validation import CheckedArguments


class Categorical(KeyedSampling, torch.distributions.Categorical):
    r"""Categorical distribution over :math:`\{0, \ldots, K - 1\}`, from unnormalised probabilities or logits.

    A draw is the winner of an exponential race (the Gumbel-max trick): :math:`\arg\max_k (\ell_k - \log E_k)`, or
    :math:`\arg\max_k p_k / E_k`, with standard exponential :math:`E_k` made in the kernel. Weights are read once, never
    normalised; `logits` and `probs`, normalised as in torch.distributions, are computed when somebody asks for
    them. There is no limit on the number of categories, and none of probability 0 is ever drawn: where validation is
    off, a row without any other gives 0, and weights that are NaN are never drawn. Samples are int64. There is no
    reparameterisation: gradients need a score-function estimator or a relaxation.

    Example::

        >>> Categorical(logits=torch.zeros(4)).sample((3,)).shape
        torch.Size([3])

    Args:
        probs: probabilities, non-negative and with a positive sum, of shape (..., K).
        logits: log-probabilities up to a number for each row, of shape (..., K), -inf included; exactly one of `probs`
            and `logits` is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, one without a dimension, or validation is on and a row
            has a NaN, a negative probability, an infinite sum or no category of positive probability.
    """

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        name, weights = ("logits", logits) if probs is None else ("probs", probs)
        assert weights is not None
        if weights.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        self._set_weights(weights, name == "probs", weights.shape[:-1], validate_args)
        if self._validate_args:
            self._check_weights(name)

    def _set_weights(
        self, weights: Tensor, from_probs: bool, batch_shape: torch.Size, validate_args: bool | None
    ) -> None:
        """Becomes the distribution of `weights` of shape (..., K), unexpanded, over a batch shape."""
        self._weights, self._from_probs, self._num_events = weights, from_probs, weights.shape[-1]
        initialise_checked(self, batch_shape, torch.Size(), validate_args)

    def _check_weights(self, name: str) -> None:
        weights, constraint = self._weights, self.arg_constraints[name]
        # One pass each, and no normalised copy: what would become NaN, or not a simplex, is refused.
        if self._from_probs:
            total = weights.sum(-1, dtype=torch.float64)
            valid = (weights >= 0).all(-1) & (total > 0) & total.isfinite()
        elif weights.shape[-1] == 0:
            valid = torch.ones(weights.shape[:-1], dtype=torch.bool, device=weights.device)
        else:
            valid = weights.detach().amax(-1).isfinite()
        self._require_all(valid, name, weights, constraint)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Categorical:
        new: Categorical = self._get_checked_instance(Categorical, _instance)
        batch_shape = torch.Size(batch_shape)
        self._weights.expand(*batch_shape, self._num_events)  # raises unless it can be
        new._set_weights(self._weights, self._from_probs, batch_shape, self._validate_args)
        for name in {"logits", "probs"} & self.__dict__.keys():
            setattr(new, name, getattr(self, name).expand(*batch_shape, self._num_events))
        return new

    @lazy_property
    def logits(self) -> Tensor:
        """Normalised log-probabilities."""
        if self._from_probs:
            return probs_to_logits(self.probs)
        return self._expanded(self._weights - self._weights.logsumexp(-1, keepdim=True))

    @lazy_property
    def probs(self) -> Tensor:
        """Normalised probabilities."""
        if self._from_probs:
            return self._expanded(self._weights / self._weights.sum(-1, keepdim=True))
        return logits_to_probs(self.logits)

    def weights_as_logits(self) -> Tensor:
        """Logits, unexpanded and perhaps unnormalised; of probabilities the ones that torch.distributions has."""
        return (
            probs_to_logits(self._weights / self._weights.sum(-1, keepdim=True)) if self._from_probs else self._weights
        )

    def _expanded(self, param: Tensor) -> Tensor:
        return param.expand(self.param_shape)

    @property
    def _param(self) -> Tensor:  # type: ignore[override]
        """The normalised parameter, as torch.distributions' own classes name it."""
        return self.probs if self._from_probs else self.logits

    @property
    def param_shape(self) -> torch.Size:
        return torch.Size((*self._batch_shape, self._num_events))

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._weights.new(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'probs' if self._from_probs else 'logits'}: {self.param_shape})"

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        return self._race(sample_shape, generator, key, one_hot=False, log_prob=log_prob)

    def _race(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        one_hot: bool,
        log_prob: bool,
        straight_through: bool = False,
    ) -> tuple[Tensor, ...]:
        shape = checked_sample_shape(sample_shape) + self.param_shape
        return draw_rows(
            race(self._from_probs, one_hot, log_prob, straight_through),
            {"probs" if self._from_probs else "logits": self._weights},
            shape,
            generator=generator,
            key=key,
            differentiable=log_prob or straight_through,
        )


def initialise_checked(
    distribution: CheckedArguments, batch_shape: torch.Size, event_shape: torch.Size, validate_args: bool | None
) -> None:
    """torch.distributions' base constructor, without its check of the parameters, which are the normalised ones."""
    Distribution.__init__(distribution, batch_shape, event_shape, validate_args=False)
    distribution._adopt(validate_args)
