"""Draws over rows as plain torch code: the specification of every other backend."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...runtime.backend import CPU
from ...runtime.hugepages import empty
from ...stream.noise import EXPONENTIAL, SIGNIFICAND_BITS, compute_dtype
from ...stream.window import Window
from .. import inversion as specification
from .elementwise import eager_noise


def race(
    key: Tensor, weights: Tensor, shape: Sequence[int], *, from_probs: bool, one_hot: bool, log_prob: bool
) -> list[Tensor]:
    """Draw a category for each row of a draw of `shape` = (..., K).

    The category is the argmax of logit_k - log E_k or of prob_k / E_k, where E_k is the standard exponential noise of
    that element of the draw, and the lowest of equals. Weights that are NaN never win. A row without a logit above
    -inf, which the distributions' validation refuses, gives category 0.

    Args:
        key: a packed key, uint64.
        weights: logits or, where `from_probs`, probabilities; unnormalised, of shape (..., K) that broadcasts to
            `shape`, of any floating dtype, which is that of the draw.
        one_hot: return the sample as one-hot vectors of shape `shape` and the weights' dtype, not as int64 of
            shape `shape[:-1]`.
        log_prob: return the log-probability of the sample too, of shape `shape[:-1]` and the weights' dtype. That
            of probabilities is clamped to [eps, 1 - eps] before the logarithm, as everywhere in torch.distributions.
    """
    *batch, k = shape
    if k == 0 or math.prod(batch) == 0:
        index = weights.new_zeros(batch, dtype=torch.int64)
    else:
        time = eager_noise(EXPONENTIAL, key, shape, weights.dtype, weights)
        given = weights.to(compute_dtype(weights.dtype))
        score = given / time if from_probs else given - time.log()
        index = torch.where(score.isnan(), -math.inf, score).argmax(-1)
    return outputs_of(index, weights, shape, from_probs=from_probs, one_hot=one_hot, log_prob=log_prob)


def inversion(
    key: Tensor,
    weights: Tensor,
    shape: Sequence[int],
    *,
    from_probs: bool,
    one_hot: bool,
    log_prob: bool,
    window: Window | None = None,
) -> list[Tensor]:
    """What :func:`race` gives, of several draws from each row: as :mod:`engines.inversion` says.

    Args:
        window: of a box; see :func:`engines.inversion.numbers_of`.
    """
    if shape[-1] == 0:
        index = weights.new_zeros(shape[:-1], dtype=torch.int64)
    else:
        index = specification.draw(key, weights, shape, from_probs=from_probs, window=window)
    return outputs_of(index, weights, shape, from_probs=from_probs, one_hot=one_hot, log_prob=log_prob)


def outputs_of(
    index: Tensor, weights: Tensor, shape: Sequence[int], *, from_probs: bool, one_hot: bool, log_prob: bool
) -> list[Tensor]:
    """The sample that has the categories `index` and, where asked for, its log-probability."""
    if shape[-1] == 0 or index.numel() == 0:
        sample = weights.new_zeros(shape) if one_hot else index
        return [sample, weights.new_zeros(shape[:-1])] if log_prob else [sample]
    sample = index
    if one_hot:
        sample = empty(shape, weights.dtype) if index.device == CPU else weights.new_empty(shape)
        sample.zero_().scatter_(-1, index.unsqueeze(-1), 1.0)
    if not log_prob:
        return [sample]
    given = weights.to(compute_dtype(weights.dtype))
    return [sample, log_prob_of(index, given, from_probs, weights.dtype).to(weights.dtype)]


def log_prob_of(index: Tensor, weights: Tensor, from_probs: bool, dtype: torch.dtype) -> Tensor:
    """The log-probability of categories under weights whose batch shape broadcasts to theirs.

    Args:
        dtype: sets how probabilities are clamped.
    """
    own = of_categories(weights, index)
    if from_probs:
        eps = 2.0 ** (1 - SIGNIFICAND_BITS[dtype])
        return (own / weights.sum(-1)).clamp(eps, 1 - eps).log()
    return own - weights.logsumexp(-1)


def of_categories(x: Tensor, index: Tensor) -> Tensor:
    """What x has for the categories `index`; its batch shape broadcasts to theirs."""
    return x.expand(*index.shape, x.shape[-1]).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def relaxed(
    key: Tensor, logits: Tensor, temperature: Tensor, shape: Sequence[int], *, exponentiated: bool, log_prob: bool
) -> list[Tensor]:
    """Draw x = log_softmax((logits - log E) / temperature) along the last dimension of `shape`, or its exponential.

    Args:
        key: a packed key, uint64.
        logits: of shape (..., K) that broadcasts to `shape`, of any floating dtype, which is that of the draw.
        temperature: one number, a tensor of the same dtype.
        exponentiated: return exp(x), a point of the simplex.
        log_prob: return the log-density of the sample too, of shape `shape[:-1]`: that of x or, where `exponentiated`,
            of exp(x), before either is rounded to its dtype.
    """
    *batch, k = shape
    dtype, compute = logits.dtype, compute_dtype(logits.dtype)
    if k == 0 or math.prod(batch) == 0:
        return [logits.new_zeros(shape), logits.new_zeros(batch)] if log_prob else [logits.new_zeros(shape)]
    time = eager_noise(EXPONENTIAL, key, shape, dtype, logits)
    t = temperature.to(compute).reshape(())
    x = torch.log_softmax((logits.to(compute) - time.log()) / t, -1)
    sample = (x.exp() if exponentiated else x).to(dtype)
    if not log_prob:
        return [sample]
    density = log_density_of_times(time.log().sum(-1), time.sum(-1), k, t)
    return [sample, (density - x.sum(-1) if exponentiated else density).to(dtype)]


def log_density_of_times(sum_of_logs: Tensor, total: Tensor, k: int, temperature: Tensor) -> Tensor:
    """The log-density of x = log_softmax((logits - log E) / temperature), from sums of log E and of E over the row.

    With v = logits - temperature * x, the density of Maddison, Mnih and Teh (2017), equation 10, for log x is
    (K - 1)! temperature**(K - 1) times the product of the softmax of v. As v is log E up to a number that is the same
    for all categories, nothing but these sums is left of it.
    """
    return sum_of_logs - k * total.log() + math.lgamma(k) + (k - 1) * temperature.log()
