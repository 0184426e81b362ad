"""Batch dimensions as event dimensions."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from ._delegation import DelegatedSampling
from ._examples import Example
from .normal import Normal


class Independent(DelegatedSampling, torch.distributions.Independent[Distribution]):
    """A distribution whose last batch dimensions count as one event: `torch.distributions.Independent` that passes
    `generator=` and `key=` on to its base.

    Example::

        >>> from rsample.distributions import Normal
        >>> Independent(Normal(torch.zeros(3), 1.0), 1).rsample_with_log_prob((16,))[1].shape
        torch.Size([16])

    Args:
        base_distribution: draws.
        reinterpreted_batch_ndims: how many batch dimensions become event dimensions.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: the base has fewer batch dimensions.
    """

    _examples = (
        Example(
            {"base_distribution": lambda p: Normal(p(-1.0, 1.0, 2), p(0.5, 2.0, 2)), "reinterpreted_batch_ndims": 1}
        ),
    )

    __init__ = torch.distributions.Independent.__init__
