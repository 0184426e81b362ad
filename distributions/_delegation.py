"""Draws of distributions that are made of others: `generator=` and `key=` pass through to what draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import _sum_rightmost

from rsample.kernels import fold_in
from rsample.kernels.draws.keys import check_source

from ._sampling import KeyedSampling, checked_sample_shape, is_overridden, source


def draw(
    distribution: Distribution,
    sample_shape: torch.Size,
    generator: torch.Generator | None,
    key: Tensor | None,
    *,
    differentiable: bool,
) -> Tensor:
    """A draw of any distribution: ours, torch's combinators of them, or one that takes neither generator nor key.

    Args:
        sample_shape: a checked one.

    Raises:
        TypeError: a generator or key for a distribution that cannot use it.
    """
    name = "rsample" if differentiable else "sample"
    if generator is None and key is None:
        drawn: Tensor = getattr(distribution, name)(sample_shape)
        return drawn
    given = source(generator, key)
    if not isinstance(distribution, KeyedSampling):
        if isinstance(distribution, _COMBINATORS) and not is_overridden(type(distribution), name):
            return _draw(distribution, sample_shape, generator, key, differentiable)
        raise TypeError(
            f"{type(distribution).__module__}.{type(distribution).__qualname__} takes neither generator nor key; "
            "the distributions of rsample.distributions do"
        )
    x: Tensor = getattr(distribution, name)(sample_shape, **given)
    return x


_COMBINATORS = (td.Independent, td.TransformedDistribution, td.MixtureSameFamily)


def _draw(
    distribution: Distribution,
    shape: torch.Size,
    generator: torch.Generator | None,
    key: Tensor | None,
    differentiable: bool,
) -> Tensor:
    """A draw of a combinator, from those of what it is made of."""
    if isinstance(distribution, td.Independent):
        return draw(distribution.base_dist, shape, generator, key, differentiable=differentiable)
    if isinstance(distribution, td.TransformedDistribution):
        if not differentiable and torch.is_grad_enabled():
            with torch.set_grad_enabled(False):  # at half the cost of torch.no_grad()
                return _draw(distribution, shape, generator, key, differentiable)
        x = draw(distribution.base_dist, shape, generator, key, differentiable=differentiable)
        for transform in distribution.transforms:
            x = transform(x)
        return x
    assert isinstance(distribution, td.MixtureSameFamily)
    return _draw_mixture(distribution, shape, generator, key)


def two_keys(key: Tensor | None, generator: torch.Generator | None) -> tuple[Tensor | None, Tensor | None]:
    """Keys of the two draws that one draw is made of; None where these take theirs from a generator."""
    if key is None:
        return None, None
    # The two draws check devices.
    check_source(key, generator, key.device if isinstance(key, Tensor) else torch.device("cpu"))
    return fold_in(key, 0), fold_in(key, 1)


def _draw_mixture(
    mixture: td.MixtureSameFamily, shape: torch.Size, generator: torch.Generator | None, key: Tensor | None
) -> Tensor:
    """A sample of every component, of which one is picked; the two draws take keys of their own."""
    which_key, value_key = two_keys(key, generator)
    with torch.no_grad():
        which = draw(mixture.mixture_distribution, shape, generator, which_key, differentiable=False)
        values = draw(mixture.component_distribution, shape, generator, value_key, differentiable=False)
        component = len(shape) + len(mixture.batch_shape)
        which = which.reshape(*which.shape, *(1,) * (1 + len(mixture.event_shape)))
        which = which.expand(*values.shape[:component], 1, *mixture.event_shape)
        return torch.gather(values, component, which).squeeze(component)


def _rsample_with_log_prob(
    distribution: Distribution, sample_shape: Sequence[int], generator: torch.Generator | None, key: Tensor | None
) -> tuple[Tensor, Tensor]:
    """A pathwise draw of any distribution and its log-density, from the kernel that draws at the bottom."""
    if isinstance(distribution, KeyedSampling):
        return distribution.rsample_with_log_prob(sample_shape, **source(generator, key))
    cls = type(distribution)
    overridden = is_overridden(cls, "rsample") or is_overridden(cls, "log_prob")
    if isinstance(distribution, (td.Independent, td.TransformedDistribution)) and not overridden:
        return _composed_with_log_prob(distribution, sample_shape, generator, key)
    x = draw(distribution, checked_sample_shape(sample_shape), generator, key, differentiable=True)
    log_prob = distribution.log_prob(x)
    return x, log_prob


def _composed_with_log_prob(
    distribution: td.Independent[Distribution] | td.TransformedDistribution,
    sample_shape: Sequence[int],
    generator: torch.Generator | None,
    key: Tensor | None,
) -> tuple[Tensor, Tensor]:
    x, log_prob = _rsample_with_log_prob(distribution.base_dist, sample_shape, generator, key)
    if isinstance(distribution, td.Independent):
        return x, _sum_rightmost(log_prob, distribution.reinterpreted_batch_ndims)
    event_dim = len(distribution.base_dist.event_shape)
    for transform in distribution.transforms:
        y = transform(x)
        into = event_dim + transform.codomain.event_dim - transform.domain.event_dim
        log_det = transform.log_abs_det_jacobian(x, y)
        log_prob = _sum_rightmost(log_prob, max(transform.domain.event_dim - event_dim, 0))
        log_prob = log_prob - _sum_rightmost(log_det, max(event_dim - transform.domain.event_dim, 0))
        x, event_dim = y, max(into, transform.codomain.event_dim)
    return x, log_prob


class DelegatedSampling(KeyedSampling):
    """Mixin: draws through other distributions. Stands before the torch.distributions class among the bases."""

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        if differentiable and log_prob:
            assert isinstance(self, (td.Independent, td.TransformedDistribution))
            return _composed_with_log_prob(self, sample_shape, generator, key)
        # The sample is a constant, but a transform's own parameters are not: only the density as a function of the
        # sample, which is computed where it is missing here, has their gradients.
        return (_draw(self, checked_sample_shape(sample_shape), generator, key, differentiable),)
